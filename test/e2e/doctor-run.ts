import { expect } from 'vitest';
import type { GatewayReport, Report } from '../../src/doctor/report.ts';
import { runToEnd } from './running-proxy.ts';

export interface DoctorOptions {
  args?: string[];
  env?: Record<string, string>;
}

/** Runs `doctor --json` to its end. It must say nothing on stderr. */
export async function doctorReport(
  words: string[],
  { args = [], env = {} }: DoctorOptions = {},
): Promise<{ code: number | string; report: Report; ms: number }> {
  const start = performance.now();
  const { code, stdout, stderr } = await runToEnd(['doctor', ...words, '--json', ...args], '', env);
  const ms = performance.now() - start;
  expect(stderr).toBe('');
  return { code, report: JSON.parse(stdout), ms };
}

/** Examines one gateway, which must not be healthy. */
export async function diagnosis(url: string, options?: DoctorOptions): Promise<GatewayReport> {
  const { code, report } = await doctorReport([url], options);
  expect({ code, healthy: report.healthy }).toEqual({ code: 1, healthy: false });
  return report.gateways[0] as GatewayReport;
}

/** Examines one gateway, which must be healthy. */
export async function health(url: string, options?: DoctorOptions): Promise<GatewayReport> {
  const { code, report } = await doctorReport([url], options);
  const gateway = report.gateways[0] as GatewayReport;
  expect(gateway.verdict).toEqual({ healthy: true, sentence: expect.any(String) });
  expect({ code, healthy: report.healthy }).toEqual({ code: 0, healthy: true });
  return gateway;
}

/** A finding by its name. */
export function finding({ findings }: GatewayReport, name: string) {
  return findings.find((own) => own.name === name);
}
