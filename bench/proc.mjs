/** What Linux tells of a program and all its descendants in /proc. Elsewhere there is no such thing. */
import { readdirSync, readFileSync } from 'node:fs';

export const hasProc = process.platform === 'linux';

/** @param {string} path @returns {string} '' when the process is gone */
function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** @param {number} pid @returns {number[]} the process and its descendants */
function family(pid) {
  const members = [pid];
  for (const member of members) {
    for (const task of tasks(member)) {
      const children = read(`/proc/${member}/task/${task}/children`).trim();
      if (children !== '') members.push(...children.split(' ').map(Number));
    }
  }
  return members;
}

/** @param {number} pid @returns {string[]} */
function tasks(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** @param {number} pid @param {(member: number) => number} figure */
const sum = (pid, figure) => family(pid).reduce((total, member) => total + figure(member), 0);

/** @param {number} pid @param {string} field in kB @returns {number} in MB (10^6 bytes) */
const statusMB = (pid, field) =>
  sum(pid, (member) => {
    const kB = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(read(`/proc/${member}/status`));
    return (Number(kB?.[1] ?? 0) * 1024) / 1e6;
  });

/** Resident memory now. @param {number} pid @returns {number} MB */
export const residentMB = (pid) => statusMB(pid, 'VmRSS');

/** The most that was ever resident. @param {number} pid @returns {number} MB */
export const peakMB = (pid) => statusMB(pid, 'VmHWM');

/**
 * CPU time used so far by every thread. From schedstat, in nanoseconds: stat counts in ticks of
 * 10 ms, and an idle program uses less than one.
 * @param {number} pid
 * @returns {number} ms
 */
export const cpuMs = (pid) =>
  sum(pid, (member) =>
    tasks(member).reduce((total, task) => {
      const nanoseconds = Number(read(`/proc/${member}/task/${task}/schedstat`).split(' ')[0]);
      return total + nanoseconds / 1e6;
    }, 0),
  );
