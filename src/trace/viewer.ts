/// <reference lib="dom" />
import type { PageData } from './page.ts';

/**
 * What the page of a trace runs. It is put there as the text of this function, so that it uses nothing
 * from outside of it. All that comes from the trace is set as text, never as markup.
 */
export function viewer(): void {
  const ROW = 26;
  const LANES = ['client', 'proxy', 'gateway'];
  const element = <Kind extends HTMLElement>(id: string) => document.getElementById(id) as Kind;
  const { steps, calls }: PageData = JSON.parse(element('trace').textContent ?? '');
  // Each is read when it is chosen.
  const lines = (element('lines').textContent ?? '').split('\n');
  const list = element('list');
  const spacer = element('rows');
  const canvas = element<HTMLCanvasElement>('timeline');
  const search = element<HTMLInputElement>('search');
  const failures = element<HTMLInputElement>('failures');
  const slower = element<HTMLInputElement>('slower');
  const details = element('details');
  const endMs = Math.max(1, steps.at(-1)?.ms ?? 1);
  const texts = steps.map(({ text }) => text.toLowerCase());
  let shown: number[] = [];
  let position = 0;
  let [from, to] = [0, endMs];
  let isDrawing = false;

  const callOf = (step: number) => calls[(steps[step]?.call ?? 0) - 1];
  const selected = () => shown[position] ?? -1;

  const filter = () => {
    const keep = selected();
    const words = search.value.trim().toLowerCase();
    const least = Number(slower.value) || 0;
    // Whole calls, so that the reply is there with its request.
    const hits = new Set<number>();
    texts.forEach((text, at) => {
      if (words !== '' && text.includes(words)) hits.add(steps[at]?.call ?? 0);
    });
    shown = [];
    steps.forEach((step, at) => {
      const call = callOf(at);
      if (words !== '' && !(texts[at] ?? '').includes(words) && !(step.call && hits.has(step.call)))
        return;
      if (failures.checked && !step.isFailure && call?.isFailure !== true) return;
      if (least > 0 && !((call?.tookMs ?? 0) >= least)) return;
      shown.push(at);
    });
    element('count').textContent = `${shown.length} of ${steps.length} rows`;
    spacer.style.height = `${shown.length * ROW}px`;
    select(Math.max(0, shown.indexOf(keep)));
  };

  const select = (next: number) => {
    position = Math.max(0, Math.min(next, shown.length - 1));
    const top = position * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    const below = top + ROW - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
    const step = steps[selected()];
    const ms = step?.ms ?? 0;
    if (ms < from || ms > to) zoom(1, ms);
    const line = step && lines[step.line];
    details.textContent =
      line === undefined ? 'No row fits the filter.' : JSON.stringify(JSON.parse(line), null, 2);
    draw();
  };

  const draw = () => {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      drawRows();
      drawTimeline();
    });
  };

  const span = (parent: HTMLElement, className: string, text: string) => {
    const own = parent.appendChild(document.createElement('span'));
    own.className = className;
    own.textContent = text;
  };

  const drawRows = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 10);
    const ownCall = steps[selected()]?.call;
    const rows: HTMLElement[] = [];
    for (let at = first; at < last; at++) {
      const step = steps[shown[at] as number];
      if (step === undefined) continue;
      const row = document.createElement('div');
      row.id = `row-${at}`;
      row.className = `row${step.isFailure ? ' failed' : ''}${ownCall !== undefined && step.call === ownCall ? ' same' : ''}`;
      row.setAttribute('role', 'option');
      row.setAttribute('aria-selected', String(at === position));
      row.setAttribute('aria-setsize', String(shown.length));
      row.setAttribute('aria-posinset', String(at + 1));
      row.dataset.at = String(at);
      row.style.transform = `translateY(${at * ROW}px)`;
      span(row, 'time', `${(step.ms / 1000).toFixed(3)} s`);
      const [a, b] = [LANES.indexOf(step.from), LANES.indexOf(step.to)];
      const arrow = a === b ? 'at' : a < b ? 'right' : 'left';
      span(row, `lanes ${arrow} lane-${Math.min(a, b)}`, '');
      span(row, 'mark', step.isFailure ? '✗' : '');
      // The arrow says it to the eye.
      if (a !== b) span(row, 'spoken', `${step.from} to ${step.to}: `);
      span(row, 'said', step.text);
      rows.push(row);
    }
    spacer.replaceChildren(...rows);
    list.setAttribute('aria-activedescendant', `row-${position}`);
  };

  const drawTimeline = () => {
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext('2d');
    if (pen === null) return;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.body);
    const colors = new Map<string, string>();
    const color = (name: string) => {
      const known = colors.get(name) ?? style.getPropertyValue(`--${name}`);
      colors.set(name, known);
      return known;
    };
    const left = 92;
    const x = (ms: number) => left + ((ms - from) / (to - from)) * (width - left - 12);
    const y = (lane: number) => 22 + (lane * (height - 50)) / 2;
    pen.font = '12px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    ['Client', 'mcp-latchkey', 'Gateway'].forEach((name, lane) => {
      pen.fillStyle = color('text');
      pen.fillText(name, 4, y(lane));
      pen.fillStyle = color('line');
      pen.fillRect(left, y(lane), width - left - 12, 1);
    });
    pen.fillStyle = color('quiet');
    const parts = width < 600 ? 2 : 4;
    for (let part = 0; part <= parts; part++) {
      const ms = from + ((to - from) * part) / parts;
      const words =
        to - from > 20_000
          ? `${(ms / 1000).toFixed(1)} s`
          : `${ms.toFixed(to - from < 20 ? 2 : 0)} ms`;
      pen.textAlign = part === parts ? 'right' : part === 0 ? 'left' : 'center';
      pen.fillText(words, x(ms), height - 8);
    }
    pen.textAlign = 'left';
    pen.save();
    pen.beginPath();
    pen.rect(left - 6, 0, width - left, height);
    pen.clip();
    const ownCall = steps[selected()]?.call;
    const begun = new Map<number, number>();
    const last = new Map<string, string>();
    for (const at of shown) {
      const step = steps[at];
      if (step === undefined) continue;
      const isOwn = at === selected() || (ownCall !== undefined && step.call === ownCall);
      if (step.call !== undefined && step.edge === 'begin') begun.set(step.call, step.ms);
      if (step.call !== undefined && step.edge === 'end') {
        // From the request to its reply: a bar on the client's side.
        const start = begun.get(step.call) ?? step.ms;
        if (step.ms >= from && start <= to) {
          pen.fillStyle = color(step.isFailure ? 'fail' : isOwn ? 'accent' : 'call');
          pen.fillRect(x(start), y(0) - 3, Math.max(1, x(step.ms) - x(start)), 6);
        }
      }
      if (step.ms < from || step.ms > to) continue;
      const [a, b] = [LANES.indexOf(step.from), LANES.indexOf(step.to)];
      const place = Math.round(x(step.ms));
      // What would be drawn at the same place is drawn once.
      const key = `${place} ${a} ${b}`;
      const kind = `${step.isFailure} ${isOwn}`;
      if (last.get(key) === kind) continue;
      last.set(key, kind);
      const ink = color(step.isFailure ? 'fail' : isOwn ? 'accent' : a <= b ? 'sent' : 'reply');
      pen.strokeStyle = ink;
      pen.fillStyle = ink;
      pen.lineWidth = isOwn ? 2.5 : 1;
      if (a === b) {
        pen.fillRect(place - 1, y(a) - 3, 3, 6);
      } else {
        const tip = y(b) + (a < b ? -3 : 3);
        const base = tip + (a < b ? -6 : 6);
        pen.beginPath();
        pen.moveTo(place, y(a));
        pen.lineTo(place, tip);
        pen.stroke();
        pen.beginPath();
        pen.moveTo(place, tip);
        pen.lineTo(place - 3.5, base);
        pen.lineTo(place + 3.5, base);
        pen.fill();
      }
      if (step.isFailure) {
        const middle = (y(a) + y(b)) / 2;
        pen.lineWidth = 2;
        pen.beginPath();
        for (const slope of [1, -1]) {
          pen.moveTo(place - 5, middle - 5 * slope);
          pen.lineTo(place + 5, middle + 5 * slope);
        }
        pen.stroke();
      }
    }
    pen.restore();
  };

  /** Shows `factor` times as much time as before, around `ms`. */
  const zoom = (factor: number, ms = (from + to) / 2) => {
    const length = Math.min(endMs, Math.max(0.5, (to - from) * factor));
    const share = ms >= from && ms <= to ? (ms - from) / (to - from) : 0.5;
    from = Math.max(0, Math.min(ms - share * length, endMs - length));
    to = from + length;
    draw();
  };
  const pan = (share: number) => {
    const length = to - from;
    from = Math.max(0, Math.min(from + share * length, endMs - length));
    to = from + length;
    draw();
  };
  const fit = () => {
    [from, to] = [0, endMs];
    draw();
  };
  const around = () => steps[selected()]?.ms;

  const pageRows = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  /** The other end of the call: from the request to its reply, and back. */
  const jump = () => {
    const { call, edge } = steps[selected()] ?? {};
    const target = edge === 'begin' ? 'end' : 'begin';
    const next = shown.findIndex(
      (at) => call !== undefined && steps[at]?.call === call && steps[at]?.edge === target,
    );
    if (next >= 0) select(next);
  };
  const keys: Record<string, () => void> = {
    ArrowDown: () => select(position + 1),
    ArrowUp: () => select(position - 1),
    PageDown: () => select(position + pageRows()),
    PageUp: () => select(position - pageRows()),
    Home: () => select(0),
    End: () => select(shown.length - 1),
    Enter: () => details.focus(),
    r: jump,
  };
  const everywhere: Record<string, () => void> = {
    '/': () => search.focus(),
    '+': () => zoom(0.5, around()),
    '-': () => zoom(2, around()),
    '0': fit,
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target instanceof HTMLInputElement && event.target.type !== 'checkbox';
    if (event.key === 'Escape') list.focus();
    if (isTyping) return;
    const onTimeline: Record<string, () => void> = {
      ArrowLeft: () => pan(-0.2),
      ArrowRight: () => pan(0.2),
    };
    const own = event.target === list ? keys : event.target === canvas ? onTimeline : {};
    const act = own[event.key] ?? everywhere[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
  list.addEventListener('scroll', draw);
  list.addEventListener('click', (event) => {
    const row = event.target instanceof Element ? event.target.closest<HTMLElement>('.row') : null;
    if (row !== null) select(Number(row.dataset.at));
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    const share = (event.offsetX - 92) / (canvas.clientWidth - 104);
    if (event.deltaX !== 0) pan(event.deltaX / 1000);
    zoom(event.deltaY > 0 ? 1.25 : event.deltaY < 0 ? 0.8 : 1, from + share * (to - from));
  });
  canvas.addEventListener('click', (event) => {
    const share = (event.offsetX - 92) / (canvas.clientWidth - 104);
    const ms = from + share * (to - from);
    let best = 0;
    shown.forEach((at, place) => {
      const distance = (other: number) => Math.abs((steps[shown[other] ?? 0]?.ms ?? 0) - ms);
      if (Math.abs((steps[at]?.ms ?? 0) - ms) < distance(best)) best = place;
    });
    select(best);
  });
  for (const input of [search, failures, slower]) input.addEventListener('input', filter);
  element('closer').addEventListener('click', () => zoom(0.5, around()));
  element('farther').addEventListener('click', () => zoom(2, around()));
  element('fit').addEventListener('click', fit);
  addEventListener('resize', draw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  filter();
  list.focus();
}
