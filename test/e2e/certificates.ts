import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Certificate {
  key: Buffer;
  cert: Buffer;
}

/** Certificates made by openssl in a folder of their own, deleted by `remove`. */
export class CertificateAuthority {
  readonly #folder = mkdtempSync(join(tmpdir(), 'latchkey-ca-'));
  readonly certFile = join(this.#folder, 'ca.pem');
  readonly #keyFile = join(this.#folder, 'ca.key');
  #count = 0;

  constructor() {
    this.#selfSigned('/CN=Test Authority', this.certFile, this.#keyFile);
  }

  /** Issued by this authority. `days` may be negative: expired. */
  issue(
    names: string,
    { days = 2, subject = 'gateway.test' } = {},
  ): Certificate & { files: string[] } {
    const [key, request, cert] = ['key', 'csr', 'pem'].map((end) =>
      join(this.#folder, `${this.#count}.${end}`),
    ) as [string, string, string];
    this.#count++;
    openssl(
      'req',
      ...NEW_KEY,
      '-keyout',
      key,
      '-out',
      request,
      '-subj',
      `/CN=${subject}`,
      '-addext',
      `subjectAltName=${names}`,
    );
    openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      this.certFile,
      '-CAkey',
      this.#keyFile,
      '-CAcreateserial',
      '-days',
      String(days),
      '-copy_extensions',
      'copy',
      '-out',
      cert,
    );
    return { key: readFileSync(key), cert: readFileSync(cert), files: [cert, key] };
  }

  /** The private key of a certificate, encrypted with `passphrase`: a file beside it. */
  encrypt(keyFile: string, passphrase: string, format: 'pkcs8' | 'traditional'): string {
    const file = `${keyFile}.${format}`;
    const to = ['-in', keyFile, '-out', file, '-passout', `pass:${passphrase}`];
    if (format === 'pkcs8') openssl('pkcs8', '-topk8', '-v2', 'aes-256-cbc', ...to);
    else openssl('ec', '-aes256', ...to);
    chmodSync(file, 0o600);
    return file;
  }

  /** Issued by itself. */
  selfSigned(): Certificate & { files: string[] } {
    const [key, cert] = [join(this.#folder, 'self.key'), join(this.#folder, 'self.pem')];
    this.#selfSigned('/CN=self.test', cert, key);
    return { key: readFileSync(key), cert: readFileSync(cert), files: [cert, key] };
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }

  #selfSigned(subject: string, cert: string, key: string): void {
    openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      key,
      '-out',
      cert,
      '-subj',
      subject,
      '-days',
      '2',
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
    );
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function openssl(...args: string[]): void {
  // Windows has none: test/windows/run.mjs runs it outside.
  const outside = fileURLToPath(new URL('../windows/outside.mjs', import.meta.url));
  if (process.platform === 'win32') execFileSync(process.execPath, [outside, 'openssl', ...args]);
  else execFileSync('openssl', args, { stdio: 'pipe' });
}
