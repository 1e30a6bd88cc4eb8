// The visitor's ticket and whether a call is open, kept for this tab: a reload comes back into the same place.

import { api } from '../shared/api.js';

const KEY = 'callkit.visit';
/** A ticket that ends sooner than this is not used for a new call, milliseconds. */
const MARGIN_MS = 60 * 60 * 1000;

/** @typedef {{ token: string, expiresAt: number, name: string, open: boolean }} Visit */

/** @returns {Visit | null} */
export function loadVisit() {
  try {
    const value = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    return typeof value?.token === 'string' && value.expiresAt > Date.now() ? value : null;
  } catch {
    return null;
  }
}

/** @param {Visit} visit */
export function saveVisit(visit) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(visit));
  } catch {
    // Without storage a reload loses its place; nothing else depends on it.
  }
}

/** Gets a ticket for the name, or keeps the present one. @param {string} name @returns {Promise<Visit>} */
export async function openVisit(name) {
  const present = loadVisit();
  if (present && present.name === name && present.expiresAt - Date.now() > MARGIN_MS) {
    const visit = { ...present, open: true };
    saveVisit(visit);
    return visit;
  }
  const { token, expires_at_ms: expiresAt } = await api.createVisitor(name === '' ? null : name);
  const visit = { token, expiresAt, name, open: true };
  saveVisit(visit);
  return visit;
}

/** The call is over; the ticket may serve for another one. */
export function closeVisit() {
  const visit = loadVisit();
  if (visit) saveVisit({ ...visit, open: false });
}
