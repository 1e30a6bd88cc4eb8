// <callkit-presence>: the operator's status, always visible, with its timer and the menu that changes it.
// Presence (chosen), activity (what the system has one do) and what comes next stay three things.

import { clock, t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';

const CHOICES = /** @type {const} */ (['available', 'away', 'offline']);

/** @fires callkit-presence-request `{ presence }` */
export class CallkitPresence extends CallkitElement {
  static styles = [`
    :host { position: relative; display: inline-block; }
    .chip { display: inline-flex; align-items: center; gap: 10px; height: 44px; padding: 0 14px; border-radius: 999px;
      border: 1px solid var(--ck-line); background: var(--ck-bg); font-weight: 600; white-space: nowrap; }
    .chip:hover { border-color: var(--ck-border); }
    .dot { display: block; flex: none; width: 11px; height: 11px; border-radius: 50%; background: var(--ck-text-muted); }
    [data-presence=available] .dot { background: var(--ck-ok); }
    [data-presence=away] .dot { background: var(--ck-warn); border-radius: 3px; }
    [data-presence=not_responding] .dot { background: var(--ck-bad); border-radius: 3px; rotate: 45deg; }
    [data-presence=offline] .dot { background: none; border: 2px solid var(--ck-text-muted); }
    .chip:not([data-activity=idle]) .dot { background: var(--ck-accent); }
    .time { font-weight: 400; color: var(--ck-text-muted); font-variant-numeric: tabular-nums; }
    .next { font-weight: 400; color: var(--ck-text-muted); }
    [role=menu] { position: absolute; z-index: 30; top: calc(100% + 8px); inset-inline-start: 0; min-width: 220px; margin: 0; padding: 6px;
      border: 1px solid var(--ck-line); border-radius: 14px; background: var(--ck-bg); box-shadow: var(--ck-shadow); }
    [role=menu] button { display: flex; align-items: center; gap: 12px; width: 100%; min-height: 44px; padding: 0 12px; border: 0;
      border-radius: 10px; background: none; text-align: start; }
    [role=menu] button:hover, [role=menu] button:focus-visible { background: var(--ck-tool); }
    [role=menu] svg { margin-inline-start: auto; visibility: hidden; color: var(--ck-accent-ink); }
    [aria-checked=true] svg { visibility: visible !important; }
  `];

  #dot = h('span', { class: 'dot', 'aria-hidden': 'true' });
  #word = h('span', {});
  #time = h('span', { class: 'time', 'aria-hidden': 'true' });
  #next = h('span', { class: 'next' });
  #chip = h('button', { type: 'button', class: 'chip', 'data-ck': 'presence', 'aria-haspopup': 'menu', 'aria-expanded': 'false' },
    this.#dot, this.#word, this.#time, this.#next, icon('chevron'));
  #menu = h('div', { role: 'menu', 'data-ck': 'presence-menu', hidden: true });
  /** @type {Map<string, HTMLButtonElement>} */
  #items = new Map();

  /** @override @param {ShadowRoot} root */
  build(root) {
    setAttribute(this.#menu, 'aria-label', t('presence-label'));
    for (const choice of CHOICES) {
      const item = h('button', { type: 'button', role: 'menuitemradio', 'aria-checked': 'false', 'data-ck': `presence-${choice}`, tabindex: -1 },
        h('span', { 'data-presence': choice }, h('span', { class: 'dot' })), t(`presence-${choice}`), icon('check'));
      this.#items.set(choice, item);
      this.#menu.append(item);
    }
    root.append(this.#chip, this.#menu);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#chip.addEventListener('click', () => this.#toggle(this.#menu.hidden === true), { signal });
    for (const [choice, item] of this.#items) {
      item.addEventListener('click', () => {
        this.#toggle(false);
        this.#chip.focus();
        this.request(ELEMENT_EVENTS.presence, { presence: choice });
      }, { signal });
    }
    this.shadowRoot?.addEventListener('keydown', (event) => this.#key(/** @type {KeyboardEvent} */ (event)), { signal });
    document.addEventListener('pointerdown', (event) => {
      if (!event.composedPath().includes(this)) this.#toggle(false);
    }, { signal });
  }

  /**
   * @param {import('../client/call-store.js').AgentState} agent
   * @param {number} now
   */
  show(agent, now) {
    const { presence, activity, pending_presence: pending } = agent;
    const busy = activity.kind !== 'idle';
    setAttribute(this.#chip, 'data-presence', presence.status);
    setAttribute(this.#chip, 'data-activity', activity.kind);
    setText(this.#word, busy ? t(`activity-${activity.kind}`) : t(`presence-${presence.status}`));
    setText(this.#time, clock(now - (busy ? agent.activitySince : agent.presenceSince)));
    setText(this.#next, pending ? t('presence-next', { presence: t(`presence-${pending.status}`) }) : '');
    const chosen = (pending ?? presence).status;
    for (const [choice, item] of this.#items) setAttribute(item, 'aria-checked', String(choice === chosen));
  }

  /** Opens the menu, from a keyboard shortcut. */
  open() {
    this.#toggle(true);
  }

  /** @param {boolean} open */
  #toggle(open) {
    if (this.#menu.hidden !== open) return;
    this.#menu.hidden = !open;
    setAttribute(this.#chip, 'aria-expanded', String(open));
    if (open) [...this.#items.values()].find((item) => item.ariaChecked === 'true')?.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.#menu.hidden) return;
    if (event.key === 'Escape') {
      this.#toggle(false);
      this.#chip.focus();
      return;
    }
    const items = [...this.#items.values()];
    const at = items.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[(to + items.length) % items.length]?.focus();
  }
}
