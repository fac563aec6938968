/** What a user does on a page with forms: which button is pressed, and what is typed or chosen. */
export interface UserAnswers {
  /** Words on the button that is pressed; the first button otherwise. */
  button?: string;
  /** By the field's name; the others stay as the page has them. */
  fields?: Readonly<Record<string, string>>;
}

/** A page on which the user stopped. */
export interface Page {
  url: string;
  status: number;
  headers: Headers;
  html: string;
}

const REDIRECT_LIMIT = 20;

/**
 * A browser without a screen: follows redirects, keeps cookies by host, and fills in forms. It runs
 * no script.
 */
export class UserAgent {
  /** Every URL visited, in order. */
  readonly visited: string[] = [];
  readonly #cookies = new Map<string, Map<string, string>>();

  /** Opens a URL, and every one that it redirects to. */
  open(url: string): Promise<Page> {
    return this.#load(url, 'GET');
  }

  /** Sends the page's form off as the user answers it. Throws when the page has none. */
  submit(page: Page, { button, fields = {} }: UserAnswers = {}): Promise<Page> {
    const form = /<form([^>]*)>([\s\S]*?)<\/form>/i.exec(page.html);
    if (form === null) throw new Error(`no form at ${page.url}: ${page.html.slice(0, 500)}`);
    const [, head = '', inside = ''] = form;
    const values = new URLSearchParams();
    for (const [tag] of inside.matchAll(/<input[^>]*>/gi)) {
      const name = attribute(tag, 'name');
      if (name !== undefined) values.set(name, attribute(tag, 'value') ?? '');
    }
    for (const [, tag = '', options = ''] of inside.matchAll(
      /<select([^>]*)>([\s\S]*?)<\/select>/gi,
    )) {
      const [, first = ''] = /<option[^>]*>([^<]*)/i.exec(options) ?? [];
      values.set(attribute(tag, 'name') ?? '', decode(first));
    }
    const buttons = [...inside.matchAll(/<button([^>]*)>([\s\S]*?)<\/button>/gi)];
    const pressed = buttons.find(([, , text = '']) => text.includes(button ?? ''));
    if (button !== undefined && pressed === undefined) throw new Error(`no button ${button}`);
    const name = attribute(pressed?.[1] ?? '', 'name');
    if (name !== undefined) values.set(name, attribute(pressed?.[1] ?? '', 'value') ?? '');
    for (const [field, value] of Object.entries(fields)) values.set(field, value);
    const action = new URL(attribute(head, 'action') ?? page.url, page.url);
    if (attribute(head, 'method')?.toUpperCase() === 'POST') {
      return this.#load(action.href, 'POST', values.toString());
    }
    action.search = values.toString();
    return this.#load(action.href, 'GET');
  }

  async #load(start: string, verb: string, body?: string): Promise<Page> {
    let [url, method, payload] = [start, verb, body];
    for (let hops = 0; hops < REDIRECT_LIMIT; hops++) {
      this.visited.push(url);
      const { host } = new URL(url);
      const jar = this.#cookies.get(host) ?? new Map<string, string>();
      this.#cookies.set(host, jar);
      const response = await fetch(url, {
        method,
        redirect: 'manual',
        headers: {
          accept: 'text/html',
          cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '),
          ...(payload === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(payload === undefined ? {} : { body: payload }),
      });
      for (const cookie of response.headers.getSetCookie()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
        jar.set(name, value);
      }
      const html = await response.text();
      const location = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || location === null) {
        return { url, status: response.status, headers: response.headers, html };
      }
      url = new URL(location, url).href;
      // As browsers do: 303 always, 301 and 302 for POST (Fetch, HTTP-redirect fetch, 12).
      if (response.status < 304) [method, payload] = ['GET', undefined];
    }
    throw new Error(`more than ${REDIRECT_LIMIT} redirects from ${start}`);
  }
}

function attribute(tag: string, name: string): string | undefined {
  const found = new RegExp(`\\b${name}=(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`, 'i').exec(tag);
  return found === null ? undefined : decode(found[1] ?? found[2] ?? found[3] ?? '');
}

function decode(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    .replace(/&quot;/g, '"')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&');
}
