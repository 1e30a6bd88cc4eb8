// What both pages do at the start and all along: language, brand, query switches, live regions, error texts.

import { currentLanguage, hasText, t, translate } from '../i18n/index.js';
import { h, setText } from '../elements/base.js';
import { browserFamily } from './browser.js';

const query = new URLSearchParams(location.search);

/** Switches for tests and support: `?debug=1`, `?raw=1` (sound as it is), `?relay=1` (through TURN only). */
export const SWITCHES = Object.freeze({
  debug: query.get('debug') === '1', raw: query.get('raw') === '1', relay: query.get('relay') === '1',
});

/** @param {string} titleKey */
export function startPage(titleKey) {
  document.documentElement.lang = currentLanguage();
  document.title = t(titleKey);
  translate(document);
}

/**
 * The element of a hook in the page itself (not in shadow roots).
 *
 * @param {string} name
 * @returns {HTMLElement}
 */
export function hook(name) {
  const element = document.querySelector(`[data-ck="${name}"]`);
  if (!(element instanceof HTMLElement)) throw new Error(`the page has no [data-ck=${name}]`);
  return element;
}

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/**
 * Shows who this service belongs to. The text on the accent is black or white, whichever reads better.
 *
 * @param {import('./api.js').Config['brand']} brand
 */
export function applyBrand(brand) {
  const root = document.documentElement;
  if (brand.theme === 'light' || brand.theme === 'dark') root.dataset['theme'] = brand.theme;
  const accent = brand.accent ? readColour(brand.accent) : null;
  if (brand.accent && accent) {
    root.style.setProperty('--ck-brand', brand.accent);
    root.style.setProperty('--ck-brand-text', textOn(accent));
  }
  for (const place of document.querySelectorAll('.brand')) {
    const name = place.querySelector('.brand-name');
    if (name) setText(name, brand.name);
    const mark = place.querySelector('.brand-mark');
    if (brand.logo && mark) {
      const image = document.createElement('img');
      image.src = brand.logo;
      image.alt = '';
      mark.replaceWith(image);
    }
  }
}

/** @param {string} hex `#rrggbb` @returns {[number, number, number] | null} */
export function readColour(hex) {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(hex);
  if (!match) return null;
  return /** @type {[number, number, number]} */ (match.slice(1).map((part) => Number.parseInt(part, 16)));
}

/** Black or white, whichever contrasts more (WCAG 2.2, relative luminance). @param {[number, number, number]} rgb */
export function textOn(rgb) {
  const [r, g, b] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
  return 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 ? '#ffffff' : '#0b1a2b';
}

/**
 * What went wrong in words, with help for this browser where the person can do something about it there.
 *
 * @param {{ messageKey: string, code?: string, device?: string | null }} error
 */
export function errorText({ messageKey, code, device }) {
  const ofDevice = device === 'camera' ? messageKey.replace(/^error-/, 'error-camera-') : messageKey;
  const text = t([ofDevice, messageKey, 'error-unknown'].find(hasText) ?? 'error-unknown');
  return code === 'permission_denied' ? `${text} ${t(`help-permission-${browserFamily(navigator.userAgent)}`)}` : text;
}

/** Tells screen readers at the next opportunity. @param {string} text */
export function announce(text) {
  setText(byId('polite', HTMLElement), text);
}

/** Tells screen readers at once. @param {string} text */
export function alertNow(text) {
  setText(byId('assertive', HTMLElement), text);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;
/** How long a passing remark stays, milliseconds. */
const TOAST_MS = 6000;

/**
 * A passing remark; one with something to press stays twice as long.
 *
 * @param {string} text
 * @param {{ label: string, run: () => void } | null} [action]
 */
export function toast(text, action = null) {
  const place = byId('toast', HTMLElement);
  const hide = () => {
    place.hidden = true;
  };
  const button = action ? h('button', { type: 'button', 'data-ck': 'toast-action' }, action.label) : null;
  button?.addEventListener('click', () => {
    hide();
    action?.run();
  });
  place.replaceChildren(h('span', { 'data-ck': 'toast-text' }, text), ...(button ? [button] : []));
  place.hidden = false;
  announce(text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hide, action ? 2 * TOAST_MS : TOAST_MS);
}

/** The document element tells its state to style sheets and tests. @param {string} state */
export function setPageState(state) {
  const root = document.documentElement;
  if (root.dataset['ckState'] !== state) root.dataset['ckState'] = state;
}

/** @param {import('../client/connection.js').ConnectionInfo} connection */
export function setSignalState(connection) {
  document.documentElement.dataset['ckSignal'] = connection.state === 'connected' ? 'connected' : 'reconnecting';
}

/** The WebSocket address of a path of this origin. @param {string} path */
export function socketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

/**
 * `window.callkitDebug`, only with `?debug=1`.
 *
 * @param {import('../client/index.js').Client} client
 */
export function exposeForDebugging(client) {
  if (!SWITCHES.debug) return;
  Object.assign(window, {
    callkitDebug: { client, call: () => client.getState().call, pc: () => client.media.peerConnection },
  });
}
