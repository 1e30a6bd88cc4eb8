// Styles of <callkit-stage>.

export const STAGE_STYLE = `
  :host { position: relative; display: block; overflow: hidden; min-height: 0; border-radius: var(--ck-radius);
    background: var(--ck-stage); color: var(--ck-stage-text); }
  .grid { position: absolute; inset: 0; display: grid; gap: 8px; grid-template: minmax(0, 1fr) / minmax(0, 1fr); }
  .grid[data-tiles="2"] { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .grid[data-screen] { padding: 0; grid-template-columns: minmax(0, 1fr) 220px; }
  .tile { position: relative; display: grid; place-items: center; min-width: 0; min-height: 0; overflow: hidden; }
  .tile video { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; background: var(--ck-stage); }
  .tile.screen { grid-column: 1; grid-row: 1 / -1; }
  .tile.screen video { object-fit: contain; }
  .grid[data-screen] .tile:not(.screen) { grid-column: 2; align-self: start; aspect-ratio: 16 / 10; width: 204px; margin: 8px 8px 0 0;
    border-radius: 12px; }
  .tile:not(.screen):not([data-camera]) video { visibility: hidden; }
  .tile[data-lost] video { filter: grayscale(1) brightness(.45); }
  .avatar { display: none; place-items: center; width: clamp(64px, 16vh, 132px); aspect-ratio: 1; border-radius: 50%;
    background: var(--ck-stage-raised); font-size: clamp(24px, 6vh, 46px); font-weight: 600; letter-spacing: .02em; }
  .tile:not([data-camera]) .avatar { display: grid; }
  .tile.screen .avatar { display: none; }
  .plate { position: absolute; bottom: 12px; inset-inline-start: 12px; display: flex; align-items: center; gap: 7px; max-width: calc(100% - 24px);
    padding: 6px 12px; border-radius: 10px; background: rgb(12 16 20 / .82); color: #fff; font-size: 13.5px; }
  .plate-name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .plate-device { color: #ffd7d3; white-space: nowrap; }
  .note { position: absolute; inset: 0; display: grid; place-items: center; padding: 16px; pointer-events: none; }
  .note span { max-width: 360px; padding: 10px 18px; border-radius: 14px; background: rgb(12 16 20 / .82); text-align: center; font-size: 15px; line-height: 1.45; }
  .tile:not([data-camera]) .note { place-items: end center; padding-bottom: 18%; }
  .tile[data-stalled] video { filter: grayscale(.6) brightness(.6); }
  .mark { display: inline-flex; color: #ff9c94; }
  .self { position: absolute; inset-inline-end: 16px; bottom: 16px; width: clamp(112px, 18%, 232px); aspect-ratio: 16 / 10; overflow: hidden;
    border-radius: 14px; background: var(--ck-stage-raised); box-shadow: 0 4px 20px rgb(0 0 0 / .35), 0 0 0 1px rgb(255 255 255 / .12); }
  .self video { width: 100%; height: 100%; object-fit: cover; transform: scaleX(-1); }
  .self:not([data-camera]) video { display: none; }
  .self-off { display: none; place-items: center; width: 100%; height: 100%; color: #a7b0ba; font-size: 22px; }
  .self:not([data-camera]) .self-off { display: grid; }
  .self .mark { position: absolute; bottom: 6px; inset-inline-start: 6px; padding: 4px; border-radius: 8px; background: rgb(12 16 20 / .82);
    font-size: 13px; }
  .notice { position: absolute; inset: 0; display: grid; place-items: center; padding: 24px; background: rgb(12 16 20 / .45); }
  .notice span { max-width: 520px; padding: 16px 26px; border-radius: 16px; background: rgb(12 16 20 / .86); text-align: center; font-size: 17px;
    white-space: pre-line; line-height: 1.5; }
  .tile[data-lost] .avatar { opacity: .35; }
  /* Three people: what shows oneself has a strip of its own and covers nobody. */
  .grid[data-tiles="2"]:not([data-screen]) { bottom: 122px; }
  .grid[data-tiles="2"] ~ .self { width: 144px; }
  .grid[data-screen] { grid-template-rows: max-content max-content minmax(0, 1fr); }
  .grid[data-screen] ~ .self { width: 188px; }
  .tile[data-compact] { position: absolute; z-index: 1; top: 12px; inset-inline-start: 12px; max-width: calc(100% - 24px); }
  .tile[data-compact] video, .tile[data-compact] .avatar, .tile[data-compact] .note { display: none; }
  .tile[data-compact] .plate { position: static; max-width: none; }
  .sharing { position: absolute; top: 12px; left: 50%; translate: -50% 0; padding: 7px 14px; border-radius: 999px;
    background: var(--ck-accent); color: var(--ck-accent-text); font-size: 13.5px; }
  @media (max-width: 620px) {
    .grid[data-screen] { grid-template: minmax(0, 1fr) / minmax(0, 1fr); }
    .grid[data-screen] .tile:not(.screen) { grid-column: 1; grid-row: 1; width: 112px; margin: 8px; z-index: 1; }
    .grid[data-tiles="2"]:not([data-screen]) { grid-template: repeat(2, minmax(0, 1fr)) / minmax(0, 1fr); }
    .grid[data-screen] ~ .self { width: 112px; }
  }
`;
