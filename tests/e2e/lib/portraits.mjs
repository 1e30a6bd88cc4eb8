// Drawn people for the fake cameras of the screenshots: no photographs, nobody's likeness.

/**
 * @param {{ wall: [string, string], floor: string, skin: string, shade: string, hair: string, top: string, collar: string,
 *   long: boolean, headset: boolean, backdrop: string }} look
 */
const portrait = (look) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 540" width="960" height="540">
<defs>
  <linearGradient id="wall" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="${look.wall[0]}"/><stop offset="1" stop-color="${look.wall[1]}"/></linearGradient>
  <radialGradient id="light" cx=".3" cy=".2" r=".9"><stop offset="0" stop-color="#fff" stop-opacity=".55"/><stop offset="1" stop-color="#fff" stop-opacity="0"/></radialGradient>
  <linearGradient id="top" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="${look.top}"/><stop offset="1" stop-color="${look.top}" stop-opacity=".82"/></linearGradient>
  <filter id="soft"><feGaussianBlur stdDeviation="7"/></filter><filter id="near"><feGaussianBlur stdDeviation="1.2"/></filter>
</defs>
<rect width="960" height="540" fill="url(#wall)"/>
<g filter="url(#soft)">${look.backdrop}</g>
<rect width="960" height="540" fill="url(#light)"/>
<g filter="url(#near)">
  ${look.long ? `<path d="M372 240c-6-130 50-178 108-178s116 48 108 178c-2 62 12 110 24 150H348c14-42 26-90 24-150z" fill="${look.hair}"/>` : ''}
  <path d="M212 560c4-118 66-158 150-178l62-20h112l62 20c84 20 146 60 150 178z" fill="url(#top)"/>
  <path d="M424 330h112v40c0 34-24 58-56 58s-56-24-56-58z" fill="${look.shade}"/>
  <path d="M398 376l26-16c8 46 30 70 56 70s48-24 56-70l26 16-48 84-34-26-34 26z" fill="${look.collar}"/>
  <path d="M388 216c0-88 38-128 92-128s92 40 92 128c0 40-8 74-24 98-18 28-42 44-68 44s-50-16-68-44c-16-24-24-58-24-98z" fill="${look.skin}"/>
  <path d="M386 226c-4 0-12 4-10 22 2 20 12 34 20 32zM574 226c4 0 12 4 10 22-2 20-12 34-20 32z" fill="${look.shade}"/>
  ${look.long
    ? `<path d="M378 236c-4-96 42-158 104-158s106 58 100 158c-10-44-22-76-40-94-40 22-104 26-136 20-16 16-24 44-28 74z" fill="${look.hair}"/>`
    : `<path d="M384 208c-10-86 36-134 98-134 66 0 108 46 94 134-8-34-16-52-30-66-44 16-98 12-128-4-18 14-28 38-34 70z" fill="${look.hair}"/>`}
  <g fill="none" stroke="${look.hair}" stroke-width="6" stroke-linecap="round"><path d="M424 203c10-8 24-8 34-2M502 201c10-6 24-6 34 2"/></g>
  <g fill="#2b2326"><ellipse cx="442" cy="224" rx="8" ry="9"/><ellipse cx="518" cy="224" rx="8" ry="9"/></g>
  <g fill="#fff"><circle cx="445" cy="221" r="2.6"/><circle cx="521" cy="221" r="2.6"/></g>
  <path d="M480 228c-2 18-10 32-8 40 2 6 12 6 18 4" fill="none" stroke="${look.shade}" stroke-width="5" stroke-linecap="round"/>
  <path d="M446 296c20 20 48 20 68 0-6 26-20 34-34 34s-28-8-34-34z" fill="#9c3f45"/><path d="M452 300c18 10 38 10 56 0-4 8-8 12-14 12h-28c-6 0-10-4-14-12z" fill="#fff"/>
  <g fill="#e88b7a" opacity=".28"><ellipse cx="418" cy="270" rx="20" ry="12"/><ellipse cx="542" cy="270" rx="20" ry="12"/></g>
  ${look.headset ? `<path d="M380 224c-6-108 40-158 100-158s106 50 100 158" fill="none" stroke="#2a3040" stroke-width="11"/>
  <rect x="362" y="208" width="30" height="62" rx="14" fill="#2a3040"/><rect x="568" y="208" width="30" height="62" rx="14" fill="#2a3040"/>
  <path d="M376 266c0 46 26 66 64 70" fill="none" stroke="#2a3040" stroke-width="6"/><rect x="434" y="328" width="28" height="14" rx="7" fill="#2a3040"/>` : ''}
</g></svg>`;

const office = `<rect x="60" y="40" width="220" height="270" rx="8" fill="#cfe3f7"/><rect x="162" y="40" width="12" height="270" fill="#fff"/>
<rect x="690" y="110" width="230" height="14" fill="#8a9bb3"/><rect x="708" y="46" width="26" height="64" fill="#4f7cac"/><rect x="738" y="56" width="22" height="54" fill="#e0a458"/>
<rect x="764" y="50" width="28" height="60" fill="#6b8f71"/><rect x="690" y="240" width="230" height="14" fill="#8a9bb3"/><rect x="830" y="180" width="60" height="60" rx="30" fill="#6b8f71"/>
<rect x="0" y="430" width="960" height="110" fill="#b8c6d8"/>`;
const home = `<rect x="640" y="30" width="250" height="250" rx="10" fill="#fbe9c6"/><rect x="758" y="30" width="12" height="250" fill="#fff8ea"/>
<ellipse cx="130" cy="250" rx="70" ry="110" fill="#5f8f63"/><ellipse cx="180" cy="210" rx="50" ry="90" fill="#76a877"/><rect x="104" y="330" width="76" height="90" rx="10" fill="#b5653c"/>
<rect x="60" y="70" width="150" height="100" fill="#f3f1ea" opacity=".8"/><rect x="0" y="420" width="960" height="120" fill="#b98f6b"/>`;

export const PORTRAITS = Object.freeze({
  irina: portrait({ wall: ['#e7eef7', '#b9cbe2'], skin: '#f2c7a5', shade: '#dba27c', hair: '#5b3a29', top: '#24527a',
    collar: '#f4f7fb', long: true, headset: true, backdrop: office }),
  anna: portrait({ wall: ['#f6e7d5', '#dcb992'], skin: '#e9b48c', shade: '#cf946a', hair: '#2c2220', top: '#7a8f5a',
    collar: '#dfe6cf', long: true, headset: false, backdrop: home }),
});
