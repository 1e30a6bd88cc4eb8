// The icons, drawn on a 24 x 24 grid with strokes in the current colour.

const SVG = 'http://www.w3.org/2000/svg';

/** @type {Record<string, readonly string[]>} */
const PATHS = {
  microphone: ['M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3Z', 'M5.5 11a6.5 6.5 0 0 0 13 0', 'M12 17.5V21'],
  'microphone-off': ['M9 9v2a3 3 0 0 0 4.6 2.5', 'M15 10.5V6a3 3 0 0 0-5.7-1.3', 'M5.5 11a6.5 6.5 0 0 0 9.6 5.7', 'M18.5 11a6.4 6.4 0 0 1-.8 3.1', 'M12 17.5V21', 'M4 4l16 16'],
  camera: ['M4.5 6.5h8A2.5 2.5 0 0 1 15 9v6a2.5 2.5 0 0 1-2.5 2.5h-8A2.5 2.5 0 0 1 2 15V9a2.5 2.5 0 0 1 2.5-2.5Z', 'M15 11l5.2-3.2a.5.5 0 0 1 .8.4v7.6a.5.5 0 0 1-.8.4L15 13'],
  'camera-off': ['M9.5 6.5h3A2.5 2.5 0 0 1 15 9v3', 'M15 15.5a2.5 2.5 0 0 1-2.5 2h-8A2.5 2.5 0 0 1 2 15V9a2.5 2.5 0 0 1 2.5-2.5', 'M16 11.5l4.2-3.7a.5.5 0 0 1 .8.4v7.6', 'M4 4l16 16'],
  screen: ['M4.5 4.5h15A1.5 1.5 0 0 1 21 6v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 15V6a1.5 1.5 0 0 1 1.5-1.5Z', 'M9 20h6', 'M12 13.5v-6', 'M9.5 9.5L12 7l2.5 2.5'],
  chat: ['M5.5 4.5h13A2.5 2.5 0 0 1 21 7v7a2.5 2.5 0 0 1-2.5 2.5H11L6.5 20v-3.5h-1A2.5 2.5 0 0 1 3 14V7a2.5 2.5 0 0 1 2.5-2.5Z', 'M8 9h8', 'M8 12h5'],
  end: ['M3.2 14.6c-.5-1-.4-2.2.3-3C5.7 9.3 8.7 8 12 8s6.3 1.3 8.5 3.6c.7.8.8 2 .3 3l-.7 1.1c-.3.5-.9.7-1.4.5l-2.9-1a1.3 1.3 0 0 1-.8-1.2v-1.6a9.5 9.5 0 0 0-6 0V14c0 .6-.3 1-.8 1.2l-2.9 1c-.5.2-1.1 0-1.4-.5Z'],
  phone: ['M6.6 3.5h2.3c.5 0 .9.3 1 .8l.8 3c.1.4 0 .8-.3 1.1L9 9.9a12.5 12.5 0 0 0 5.1 5.1l1.5-1.4c.3-.3.7-.4 1.1-.3l3 .8c.5.1.8.5.8 1v2.3A2.6 2.6 0 0 1 17.9 20 14.4 14.4 0 0 1 4 6.1a2.6 2.6 0 0 1 2.6-2.6Z'],
  send: ['M4 12L20 4l-4.5 16-4-6.5Z', 'M11.5 13.5L20 4'],
  user: ['M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z', 'M4.5 20a7.5 7.5 0 0 1 15 0'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  chevron: ['M7 10l5 5 5-5'],
  sound: ['M4 9.5h3.5L12 5.5v13l-4.5-4H4Z', 'M15.5 9a4.2 4.2 0 0 1 0 6', 'M18 6.5a8 8 0 0 1 0 11'],
  'sound-off': ['M4 9.5h3.5L12 5.5v13l-4.5-4H4Z', 'M16 9.5l5 5', 'M21 9.5l-5 5'],
  settings: ['M4 7h9', 'M17 7h3', 'M15 5v4', 'M4 17h3', 'M11 17h9', 'M9 15v4', 'M4 12h5', 'M13 12h7', 'M11 10v4'],
  bars: ['M6 19v-4', 'M12 19v-9', 'M18 19V5'],
};

/** @param {keyof typeof PATHS & string} name @returns {SVGSVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('data-icon', name);
  for (const d of PATHS[name] ?? []) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** Puts another icon in the place of the present one. @param {Element} parent @param {string} name */
export function setIcon(parent, name) {
  const present = parent.querySelector('svg.icon');
  if (present?.getAttribute('data-icon') === name) return;
  if (present) present.replaceWith(icon(name));
  else parent.prepend(icon(name));
}
