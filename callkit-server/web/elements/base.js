// What all elements share: an open shadow root with adopted style sheets, one AbortController per connection,
// composed events out, and a builder that only ever sets text, never HTML.

const sheets = new Map();

/** @param {string} css */
export function sheet(css) {
  let made = sheets.get(css);
  if (!made) {
    made = new CSSStyleSheet();
    made.replaceSync(css);
    sheets.set(css, made);
  }
  return made;
}

/** Base of the callkit elements. */
export class CallkitElement extends HTMLElement {
  /** Style sheets of the element, as text. @type {readonly string[]} */
  static styles = [];

  /** @type {AbortController | null} */
  #abort = null;

  connectedCallback() {
    if (!this.shadowRoot) {
      const root = this.attachShadow({ mode: 'open' });
      const styles = /** @type {typeof CallkitElement} */ (this.constructor).styles;
      root.adoptedStyleSheets = [SHARED, ...styles].map(sheet);
      this.build(root);
    }
    this.#abort = new AbortController();
    this.connected(this.#abort.signal);
  }

  disconnectedCallback() {
    this.#abort?.abort();
    this.#abort = null;
  }

  /** Makes the content, once. @param {ShadowRoot} _root */
  build(_root) {}

  /** Adds listeners; they end with the signal. @param {AbortSignal} _signal */
  connected(_signal) {}

  /**
   * Asks whoever uses the element to do something.
   *
   * @param {string} name
   * @param {unknown} [detail]
   */
  request(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { bubbles: true, composed: true, detail: Object.freeze(detail) }));
  }
}

/**
 * Makes an element. Attributes that are `null` or `false` are left out, `true` is an empty attribute; children that
 * are strings become text.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null>} [attributes]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** Sets or removes, and leaves what is already so alone. @param {Element} element @param {string} name @param {string | number | boolean | null} value */
export function setAttribute(element, name, value) {
  if (value === null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? '' : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text unless it is there already, so that live regions do not repeat. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What every element starts from; sizes and colours come from the design tokens of the page. */
const SHARED = `
  :host { box-sizing: border-box; font: inherit; color: var(--ck-text); }
  :host([hidden]) { display: none !important; }
  *, *::before, *::after { box-sizing: inherit; }
  [hidden] { display: none !important; }
  button, input, textarea { font: inherit; color: inherit; }
  button { cursor: pointer; }
  button:disabled { cursor: default; opacity: .5; }
  :focus { outline: none; }
  :focus-visible { outline: 2px solid var(--ck-focus); outline-offset: 2px; }
  .visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  svg.icon { width: 1.25em; height: 1.25em; flex: none; fill: none; stroke: currentColor; stroke-width: 1.8;
    stroke-linecap: round; stroke-linejoin: round; }
`;
