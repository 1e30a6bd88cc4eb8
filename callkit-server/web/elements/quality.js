// <callkit-quality>: the connection as bars and a word; behind it, on request, the technical figures.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';

/**
 * @typedef {import('../client/protocol.js').QualityLevel} Level
 * @typedef {{ level: Level, cause: string, others: readonly { name: string, level: Level }[],
 *   sections: readonly { title: string, rows: readonly (readonly [string, string])[] }[] }} QualityDetails
 */

/** @fires callkit-copy-report-request inside the click, as the clipboard wants it */
export class CallkitQuality extends CallkitElement {
  static styles = [`
    :host { position: relative; display: inline-block; }
    button { display: inline-flex; align-items: center; gap: 8px; height: 44px; padding: 0 12px; border-radius: 999px;
      border: 1px solid var(--ck-line); background: var(--ck-bg-raised); font-size: 13.5px; white-space: nowrap; }
    button:hover { border-color: var(--ck-border); }
    .bars { display: inline-flex; align-items: flex-end; gap: 2px; height: 14px; }
    .bars i { width: 4px; border-radius: 1px; background: var(--ck-line); }
    .bars i:nth-child(1) { height: 5px; } .bars i:nth-child(2) { height: 9px; } .bars i:nth-child(3) { height: 14px; }
    [data-level=good] .bars i { background: var(--ck-ok); }
    [data-level=fair] .bars i:nth-child(-n+2) { background: var(--ck-warn); }
    [data-level=poor] .bars i:nth-child(1), [data-level=no_sound] .bars i:nth-child(1) { background: var(--ck-bad); }
    [data-level=video_paused] .bars i:nth-child(1), [data-level=local_cpu] .bars i:nth-child(-n+2) { background: var(--ck-warn); }
    .others { color: var(--ck-bad); font-weight: 600; }
    .others[data-level=fair] { color: var(--ck-warn); }
    .lead { margin: 0; font-size: 15px; }
    .panel button { justify-content: center; width: 100%; height: 44px; margin-top: 14px; border-radius: 12px; font-size: 14.5px; font-weight: 600; }
    .panel { position: absolute; z-index: 20; top: calc(100% + 8px); inset-inline-end: 0; width: 320px; max-width: calc(100vw - 32px);
      max-height: min(70vh, 520px); overflow-y: auto; padding: 16px 18px; border: 1px solid var(--ck-line); border-radius: 14px;
      background: var(--ck-bg); box-shadow: var(--ck-shadow); }
    h2 { margin: 12px 0 6px; font-size: 12px; font-weight: 600; letter-spacing: .04em; text-transform: uppercase; color: var(--ck-text-muted); }
    
    dl { display: grid; grid-template-columns: auto auto; gap: 5px 16px; margin: 0; font-size: 13.5px; }
    dt { color: var(--ck-text-muted); }
    dd { margin: 0; text-align: end; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
  `];

  #word = h('span', {});
  #others = h('span', { class: 'others' });
  #button = h('button', { type: 'button', 'data-ck': 'quality', 'data-level': 'good', 'aria-expanded': 'false', 'aria-controls': 'panel' },
    h('span', { class: 'bars', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), this.#word, this.#others);
  #copy = h('button', { type: 'button', 'data-ck': 'copy-report' });
  #panel = h('div', { class: 'panel', id: 'panel', role: 'group', hidden: true });
  /** @type {QualityDetails} */
  #details = { level: 'good', cause: '', others: [], sections: [] };

  /** @override @param {ShadowRoot} root */
  build(root) {
    setAttribute(this.#panel, 'aria-label', t('quality'));
    setText(this.#copy, t('copy-report'));
    root.append(this.#button, this.#panel);
    this.show(this.#details);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#button.addEventListener('click', () => this.#toggle(this.#panel.hidden === true), { signal });
    this.#copy.addEventListener('click', () => this.request(ELEMENT_EVENTS.copyReport), { signal });
    this.shadowRoot?.addEventListener('keydown', (event) => {
      if (/** @type {KeyboardEvent} */ (event).key !== 'Escape' || this.#panel.hidden) return;
      this.#toggle(false);
      this.#button.focus();
    }, { signal });
    document.addEventListener('pointerdown', (event) => {
      if (!event.composedPath().includes(this)) this.#toggle(false);
    }, { signal });
  }

  /** @param {QualityDetails} details */
  show(details) {
    this.#details = details;
    setAttribute(this.#button, 'data-level', details.level);
    setText(this.#word, `${t('quality')}: ${t(`quality-${details.level}`).toLowerCase()}`);
    const [worst] = details.others;
    setAttribute(this.#others, 'hidden', worst === undefined);
    setAttribute(this.#others, 'data-level', worst?.level ?? null);
    setText(this.#others, worst ? `${worst.name}: ${t(`quality-${worst.level}`).toLowerCase()}` : '');
    if (!this.#panel.hidden) this.#fill();
  }

  /** @param {boolean} open */
  #toggle(open) {
    if (open) this.#fill();
    this.#panel.hidden = !open;
    setAttribute(this.#button, 'aria-expanded', String(open));
  }

  #fill() {
    const { level, cause, sections } = this.#details;
    const focused = this.shadowRoot?.activeElement === this.#copy;
    this.#panel.replaceChildren(
      h('p', { class: 'lead', 'data-ck': 'quality-level' }, cause === '' ? t(`quality-${level}`) : `${t(`quality-${level}`)} · ${cause}`),
      ...sections.flatMap(({ title, rows }) => [
        h('h2', {}, title),
        h('dl', {}, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
      ]),
      this.#copy,
    );
    if (focused) this.#copy.focus();
  }
}
