// Registers the elements; importing this module is the only side effect that the others need.

import { CallkitChat } from './chat.js';
import { CallkitDevices } from './devices.js';
import { CallkitIncoming } from './incoming.js';
import { CallkitLink } from './link.js';
import { CallkitPresence } from './presence.js';
import { CallkitQuality } from './quality.js';
import { CallkitStage } from './stage.js';
import { CallkitToolbar } from './toolbar.js';

const ELEMENTS = {
  'callkit-chat': CallkitChat,
  'callkit-devices': CallkitDevices,
  'callkit-incoming': CallkitIncoming,
  'callkit-link': CallkitLink,
  'callkit-presence': CallkitPresence,
  'callkit-quality': CallkitQuality,
  'callkit-stage': CallkitStage,
  'callkit-toolbar': CallkitToolbar,
};

for (const [name, element] of Object.entries(ELEMENTS)) {
  if (!customElements.get(name)) customElements.define(name, element);
}
