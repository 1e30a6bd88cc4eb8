// Which browser this is, for help texts only: what a browser can do is asked of its functions.

/** @typedef {'chromium' | 'firefox' | 'safari' | 'other'} Family */

/** @param {string} userAgent @returns {Family} */
export function browserFamily(userAgent) {
  if (/Firefox\/|FxiOS\//.test(userAgent)) return 'firefox';
  if (/Chrom(e|ium)\/|CriOS\/|Edg/.test(userAgent)) return 'chromium';
  if (/Safari\//.test(userAgent) && /Version\//.test(userAgent)) return 'safari';
  return 'other';
}
