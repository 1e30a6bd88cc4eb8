// Ended calls: the list, and one of them in full.

import { CallkitError } from '../client/errors.js';
import { h, setText } from '../elements/base.js';
import { clock, t, timeOfDay } from '../i18n/index.js';
import { api } from '../shared/api.js';
import { byId, toast, errorText } from '../shared/page.js';
import { course } from './course.js';

/** @typedef {import('../shared/api.js').HistoryEntry} HistoryEntry */

export class History {
  #list = byId('history-list', HTMLUListElement);
  #empty = byId('history-empty', HTMLElement);
  #dialog = byId('details', HTMLDialogElement);
  #heading = byId('details-heading', HTMLElement);
  #body = byId('details-body', HTMLElement);
  #loading = 0;

  constructor() {
    byId('details-close', HTMLButtonElement).addEventListener('click', () => this.#dialog.close());
    this.#list.addEventListener('click', (event) => {
      const id = event.target instanceof HTMLElement ? event.target.dataset['call'] : undefined;
      if (id) this.#open(id);
    });
    setText(this.#empty, t('history-empty'));
  }

  async load() {
    const loading = ++this.#loading;
    try {
      const { calls } = await api.calls();
      if (loading !== this.#loading) return;
      this.#list.replaceChildren(...calls.map(toRow));
      this.#empty.hidden = calls.length > 0;
      setText(this.#empty, t('history-empty'));
    } catch {
      if (loading !== this.#loading) return;
      this.#empty.hidden = false;
      setText(this.#empty, t('history-failed'));
    }
  }

  clear() {
    this.#loading++;
    this.#list.replaceChildren();
    this.#dialog.close();
  }

  close() {
    this.#dialog.close();
  }

  /** @param {string} id */
  async #open(id) {
    try {
      const { call, participants, chat, quality } = await api.call(id);
      setText(this.#heading, call.name ?? t('offer-unnamed'));
      this.#body.replaceChildren(
        h('dl', {}, ...facts(call).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
        h('h3', {}, t('history-participants')),
        h('ul', {}, ...participants.map((participant) => h('li', {},
          participant.name ?? t(participant.role), ' ',
          h('span', {}, `${t(participant.role)} · ${t('history-left', {
            from: timeOfDay(participant.joined_ms), to: participant.left_ms ? timeOfDay(participant.left_ms) : '…',
          })}`)))),
        ...course(quality ?? [], call.started_ms ?? call.created_ms),
        h('h3', {}, t('history-chat')),
        chat.length === 0
          ? h('p', { class: 'muted' }, t('history-no-chat'))
          : h('ul', { 'data-ck': 'history-chat' }, ...chat.map((line) => h('li', {},
            h('span', {}, `${t(line.from)} · ${timeOfDay(line.at_ms)}`), h('p', {}, line.text)))),
      );
      if (!this.#dialog.open) this.#dialog.showModal();
      this.#heading.focus();
    } catch (error) {
      toast(errorText(CallkitError.from(error)));
    }
  }
}

/** @param {HistoryEntry} call */
function toRow(call) {
  const talked = call.started_ms && call.ended_ms ? clock(call.ended_ms - call.started_ms) : t('history-not-answered');
  const name = call.name ?? t('offer-unnamed');
  return h('li', { 'data-call': call.id, 'data-reason': call.reason ?? null },
    h('time', { datetime: new Date(call.created_ms).toISOString() }, timeOfDay(call.created_ms)),
    h('div', { class: 'who' }, h('strong', {}, name), h('span', {}, reasonText(call.reason))),
    h('span', { class: 'length' }, talked),
    h('button', { type: 'button', class: 'button small', 'data-call': call.id, 'aria-label': `${t('history-open')}: ${name}` }, t('history-open')));
}

/** @param {HistoryEntry} call @returns {[string, string][]} */
function facts(call) {
  /** @type {[string, string][]} */
  const rows = [[t('customer-id'), call.customer], [t('customer-queue'), call.queue], [t('history-asked'), timeOfDay(call.created_ms)]];
  if (call.started_ms) {
    rows.push([t('history-answered'), timeOfDay(call.started_ms)]);
    rows.push([t('history-waited'), clock(call.started_ms - call.created_ms)]);
  }
  if (call.ended_ms) rows.push([t('history-ended'), `${timeOfDay(call.ended_ms)} · ${reasonText(call.reason)}`]);
  if (call.started_ms && call.ended_ms) rows.push([t('history-talked'), clock(call.ended_ms - call.started_ms)]);
  if (call.agent) rows.push([t('operator'), call.agent]);
  return rows;
}

/** @param {string | undefined | null} reason as the operator reads it */
export function reasonText(reason) {
  const key = `reason-operator-${reason}`;
  const text = t(key);
  return text === key ? t('reason-operator-unknown') : text;
}
