// <callkit-quality>: the connection as bars and a word; behind it, on request, the technical figures.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';

/**
 * @typedef {import('../client/protocol.js').QualityLevel} Level
 * @typedef {{ level: Level, sections: readonly { title: string, rows: readonly (readonly [string, string])[] }[] }} QualityDetails
 */

export class CallkitQuality extends CallkitElement {
  static styles = [`
    :host { position: relative; display: inline-block; }
    button { display: inline-flex; align-items: center; gap: 8px; height: 36px; padding: 0 12px; border-radius: 999px;
      border: 1px solid var(--ck-line); background: var(--ck-bg-raised); font-size: 13.5px; white-space: nowrap; }
    button:hover { border-color: var(--ck-border); }
    .bars { display: inline-flex; align-items: flex-end; gap: 2px; height: 14px; }
    .bars i { width: 4px; border-radius: 1px; background: var(--ck-line); }
    .bars i:nth-child(1) { height: 5px; } .bars i:nth-child(2) { height: 9px; } .bars i:nth-child(3) { height: 14px; }
    [data-level=good] .bars i { background: var(--ck-ok); }
    [data-level=fair] .bars i:nth-child(-n+2) { background: var(--ck-warn); }
    [data-level=poor] .bars i:nth-child(1) { background: var(--ck-bad); }
    .panel { position: absolute; z-index: 20; top: calc(100% + 8px); inset-inline-end: 0; width: 320px; max-width: calc(100vw - 32px);
      max-height: min(70vh, 520px); overflow-y: auto; padding: 16px 18px; border: 1px solid var(--ck-line); border-radius: 14px;
      background: var(--ck-bg); box-shadow: var(--ck-shadow); }
    h2 { margin: 12px 0 6px; font-size: 12px; font-weight: 600; letter-spacing: .04em; text-transform: uppercase; color: var(--ck-text-muted); }
    h2:first-child { margin-top: 0; }
    dl { display: grid; grid-template-columns: auto auto; gap: 5px 16px; margin: 0; font-size: 13.5px; }
    dt { color: var(--ck-text-muted); }
    dd { margin: 0; text-align: end; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
  `];

  #word = h('span', {});
  #button = h('button', { type: 'button', 'data-ck': 'quality', 'data-level': 'good', 'aria-expanded': 'false', 'aria-controls': 'panel' },
    h('span', { class: 'bars', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), this.#word);
  #panel = h('div', { class: 'panel', id: 'panel', role: 'group', hidden: true });
  /** @type {QualityDetails} */
  #details = { level: 'good', sections: [] };

  /** @override @param {ShadowRoot} root */
  build(root) {
    setAttribute(this.#panel, 'aria-label', t('quality'));
    root.append(this.#button, this.#panel);
    this.show(this.#details);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#button.addEventListener('click', () => this.#toggle(this.#panel.hidden === true), { signal });
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
    if (!this.#panel.hidden) this.#fill();
  }

  /** @param {boolean} open */
  #toggle(open) {
    if (open) this.#fill();
    this.#panel.hidden = !open;
    setAttribute(this.#button, 'aria-expanded', String(open));
  }

  #fill() {
    this.#panel.replaceChildren(...this.#details.sections.flatMap(({ title, rows }) => [
      h('h2', {}, title),
      h('dl', {}, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    ]));
  }
}
