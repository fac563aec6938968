/**
 * `npm run bench`: mcp-latchkey against its peers and against the floor, in one run.
 *
 * Plain modules with JSDoc types: they run on Node 20 as they are, without a build of their own.
 */
import { execFileSync, fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { npm } from './installed.mjs';
import { startKeyring } from './keyring.mjs';
import { programs as allPrograms, key, latchkey, version } from './programs.mjs';
import { measurements as allMeasurements } from './rows.mjs';
import { direct, keep, killAll, NotAvailable, start, Wrong } from './session.mjs';
import { markdown, summarize } from './table.mjs';

const help = `npm run bench -- [options]
  --only a,b       these measurements: ${allMeasurements.map(({ name }) => name).join(', ')}
  --programs a,b   these programs: ${allPrograms.map(({ name }) => name).join(', ')}, direct
  --baseline file  also measure this build of mcp-latchkey, in the same run, as "baseline"
  --quick          fewer rounds
  --reply sse      the server answers every call with an event stream (default: json)
  --json           every sample, median, ratio and target, as JSON
  --markdown       the table alone, in Markdown for docs/performance.md, with how it was made below it`;

const oneWayMs = 40;
const us = 'mcp-latchkey';

/** @type {ReturnType<typeof readOptions>} */
const options = readOptions();

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        programs: { type: 'string' },
        baseline: { type: 'string' },
        quick: { type: 'boolean', default: false },
        reply: { type: 'string', default: 'json' },
        json: { type: 'boolean', default: false },
        markdown: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    stop(`${error instanceof Error ? error.message : error}\n\n${help}`);
  }
}

/** @param {string} message @returns {never} */
function stop(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

/**
 * The ones that were asked for, in the order that they have here.
 * @template T
 * @param {string | undefined} names @param {T[]} all @param {(one: T) => string[]} namesOf
 * @returns {T[]}
 */
function pick(names, all, namesOf) {
  if (names === undefined) return all;
  const wanted = names.split(',');
  const unknown = wanted.find((name) => !all.some((one) => namesOf(one).includes(name)));
  if (unknown !== undefined) stop(`There is no "${unknown}".\n\n${help}`);
  return all.filter((one) => namesOf(one).some((name) => wanted.includes(name)));
}

if (options.help) {
  process.stdout.write(`${help}\n`);
  process.exit(0);
}
const measurements = pick(options.only, allMeasurements, ({ name, rows }) => [
  name,
  ...rows.map(({ key }) => key),
]);
const contestants = pick(
  options.programs,
  [...allPrograms, { name: 'direct', entry: '', args: () => [] }],
  ({ name }) => [name],
);
if (options.baseline !== undefined) {
  contestants.push(latchkey('baseline', resolve(options.baseline)));
}

const folder = mkdtempSync(join(tmpdir(), 'latchkey-bench-'));
process.on('exit', () => {
  killAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => process.exit(1));
}

/**
 * Starts one of the benchmark's own processes, and waits until it is ready.
 * @param {string} file @param {string[]} args
 */
async function startOwn(file, args) {
  const child = keep(fork(fileURLToPath(new URL(file, import.meta.url)), args));
  child.once('exit', (code) => stop(`${file} ended with ${code}`));
  const next = () => new Promise((resolve) => child.once('message', resolve));
  const { ready } = await next();
  return {
    ready,
    /** @param {string} command */
    ask: (command) => {
      const answer = next();
      child.send(command);
      return answer;
    },
  };
}

/** A certificate for 127.0.0.1, made for this run. @returns {string | undefined} why there is none */
function makeCertificate() {
  try {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const name = ['-subj', '/CN=bench', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
    const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
    execFileSync('openssl', ['req', '-x509', ...key, ...name, ...files], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'openssl, which makes the certificate, did not run';
  }
}

/** Installs the peers beside this file, unless they are there in the pinned versions. */
async function installPeers() {
  const manifest = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
  const missing = allPrograms.filter(
    (program) =>
      program.name in manifest.dependencies &&
      contestants.includes(program) &&
      !(existsSync(program.entry) && version(program) === manifest.dependencies[program.name]),
  );
  if (missing.length === 0) return;
  process.stderr.write(`Installing ${missing.map(({ name }) => name).join(', ')} …\n`);
  const here = fileURLToPath(new URL('.', import.meta.url));
  await npm(['ci', '--prefix', here, '--no-audit', '--no-fund', '--ignore-scripts']);
}

await installPeers();
const withoutTls = makeCertificate();
const certificate = join(folder, 'cert.pem');
const authorities = join(folder, 'authorities.pem');
// With all those that Node.js trusts, which are read when they are first needed, as a user's are.
// NODE_EXTRA_CA_CERTS would be read by Node.js 20 before it runs any program.
if (!withoutTls)
  writeFileSync(authorities, [...rootCertificates, readFileSync(certificate)].join('\n'));
const server = await startOwn(
  'server.mjs',
  withoutTls ? [] : [join(folder, 'key.pem'), certificate],
);
const relay = await startOwn('relay.mjs', [`${server.ready.https}`, `${oneWayMs}`]);

/**
 * A home of their own, so that nothing of the user's is read, and nothing is left behind. Nor any of
 * Node's own variables: NODE_EXTRA_CA_CERTS with a whole CA bundle costs Node 20 37 ms at each start.
 */
const env = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(MCP_LATCHKEY_|npm_|NODE_|SSL_|(https?|all|no)_proxy$)/i.test(name),
    ),
  ),
  ...Object.fromEntries(
    ['HOME', 'USERPROFILE', 'APPDATA', 'LOCALAPPDATA', 'MCP_REMOTE_CONFIG_DIR', 'TMPDIR']
      .concat(['XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'XDG_STATE_HOME', 'XDG_DATA_HOME'])
      .map((name) => [name, folder]),
  ),
};

if (
  process.platform === 'linux' &&
  measurements.some(({ name }) => name === 'start-keychain') &&
  contestants.some(({ name }) => name === us)
) {
  Object.assign(env, await startKeyring(folder, env));
}

/** @type {import('./table.mjs').Results} */
const results = {};

/**
 * One run of one program, within its time limit.
 * @param {import('./rows.mjs').Measurement} measurement
 * @param {import('./programs.mjs').Program} program
 * @returns {Promise<Record<string, number>>}
 */
async function runOnce(measurement, program) {
  /** @type {import('./session.mjs').Session[]} */
  const sessions = [];
  const isDirect = program.name === 'direct';
  if (isDirect && !measurement.direct) throw new NotAvailable('means nothing without a program');
  /** @param {{tls?: boolean}} [how] */
  const url = (how) => {
    const base = how?.tls
      ? `https://127.0.0.1:${relay.ready.port}/mcp`
      : `http://127.0.0.1:${server.ready.http}/mcp`;
    return options.reply === 'sse' ? `${base}?reply=sse` : base;
  };
  /** @type {import('./rows.mjs').Bench} */
  const bench = {
    env,
    url,
    withoutTls,
    program: isDirect ? undefined : program,
    server: async (command) => (await server.ask(command)).stats,
    open: (how) => {
      const more = how?.filtered ? (program.filter ?? []) : (how?.options ?? []);
      const own = [...program.args(url(how)), ...more];
      const session = isDirect
        ? direct(url(how), key)
        : start(how?.command ?? [process.execPath, program.entry, ...own], {
            ...env,
            // Two builds of one version would replace each other's compiled code. And a list of 5 MB in
            // the cache would be read again a second after the start of each session, in all rows.
            XDG_CACHE_HOME: join(folder, 'cache', program.name, measurement.name),
            ...(how?.withoutKey ? {} : program.env),
            ...(how?.tls ? { NODE_OPTIONS: '--use-openssl-ca', SSL_CERT_FILE: authorities } : {}),
          });
      sessions.push(session);
      return session;
    },
  };
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Wrong(`not done after ${measurement.limitMs / 1000} s`));
      for (const session of sessions) session.kill();
    }, measurement.limitMs);
  });
  const run = measurement.run(bench);
  run.catch(() => {});
  try {
    return /** @type {Record<string, number>} */ (await Promise.race([run, late]));
  } finally {
    clearTimeout(timer);
  }
}

/** @param {import('./rows.mjs').Measurement} measurement */
async function measure(measurement) {
  /** @param {import('./programs.mjs').Program} program @param {boolean} counts */
  const take = async (program, counts) => {
    const cells = measurement.rows.map(({ key }) => {
      results[key] ??= {};
      results[key][program.name] ??= { samples: [] };
      return /** @type {import('./table.mjs').Cell} */ (results[key][program.name]);
    });
    if (cells.some((cell) => cell.failure ?? cell.notAvailable)) return;
    try {
      const figures = await runOnce(measurement, program);
      if (!counts) return;
      measurement.rows.forEach(({ key }, index) => {
        const figure = figures[key];
        if (figure !== undefined && !Number.isNaN(figure)) cells[index]?.samples.push(figure);
      });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      for (const cell of cells) {
        if (error instanceof NotAvailable) cell.notAvailable = error.message;
        else cell.failure = error.message;
      }
    }
  };
  const rounds = options.quick ? measurement.quickRounds : measurement.rounds;
  for (let round = measurement.warm ? -1 : 0; round < rounds; round++) {
    if (measurement.together) {
      await Promise.all(contestants.map((program) => take(program, round >= 0)));
    } else {
      for (const program of contestants) await take(program, round >= 0);
    }
  }
}

for (const measurement of measurements) {
  const began = performance.now();
  process.stderr.write(`${measurement.name} … `);
  await measure(measurement);
  process.stderr.write(`${Math.round((performance.now() - began) / 1000)} s\n`);
}

const machine = {
  node: process.version,
  platform: `${process.platform} ${process.arch}`,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  versions: Object.fromEntries(
    contestants.map((program) => [program.name, program.manifest ? version(program) : undefined]),
  ),
};

const about = [
  `Node ${machine.node}`,
  machine.platform,
  machine.cpu,
  ...Object.entries(machine.versions).flatMap(([name, number]) =>
    number ? `${name} ${number}` : [],
  ),
].join(', ');
const lines = summarize(measurements, results);
const table = markdown(
  lines,
  contestants.map(({ name }) => name),
);
const command = ['npm run bench --', ...process.argv.slice(2)].join(' ').replace(/ --$/, '');
const made = options.quick ? 'Medians of a few runs each' : 'Medians';
const output = options.json
  ? JSON.stringify({ ...machine, command, rows: lines }, null, 2)
  : options.markdown
    ? `${table}\n\n${made}, interleaved; \`${command}\`, ${about}. ✓ and ✗: the target is met or missed.`
    : `${made}. ${about}.\n\n${table}`;
await new Promise((resolve) => process.stdout.write(`${output}\n`, resolve));
// What a peer cannot do is a finding; what this program cannot do is a failure.
process.exit(Object.values(results).some((cells) => cells[us]?.failure !== undefined) ? 1 : 0);
