//! Chat of open calls: numbered, bounded, and kept once however often it is sent (R1.3).

use std::collections::BTreeMap;

use callkit_core::call::{Party, SuperviseMode};
use callkit_core::chat::{ChatMessage, MAX_CHAT_CHARS};
use callkit_core::id::CallId;
use callkit_core::redact::Private;

use super::{Dispatcher, Step};
use crate::effects::Action;
use crate::input::{MAX_CHAT_BYTES, MAX_CHAT_MESSAGES, MAX_CLIENT_ID_BYTES, Refused};
use crate::record::CallExt as _;

/// The chat of an open call, by author and the author's key.
#[derive(Debug, Default)]
pub(crate) struct ChatLog {
    messages: BTreeMap<(Party, String), ChatMessage>,
    bytes: usize,
}

impl ChatLog {
    pub(crate) fn add(&mut self, message: ChatMessage) {
        self.bytes += message.text.expose().len();
        self.messages
            .insert((message.from.clone(), message.client_id.clone()), message);
    }
}

impl Dispatcher {
    pub(super) fn chat(
        &mut self,
        step: &mut Step,
        call: CallId,
        from: Party,
        client_id: String,
        text: Private<String>,
    ) -> Result<(), Refused> {
        self.check_party(call, &from)?;
        let log = &self.book.call(call).ok_or(Refused::UnknownCall)?.chat;
        let key = (from, client_id);
        if let Some(known) = log.messages.get(&key) {
            step.first.push(Action::ChatAdded(known.clone()));
            return Ok(());
        }
        let record = self.call(call).ok_or(Refused::UnknownCall)?;
        if record
            .supervision_of(&key.0)
            .is_some_and(|own| own.mode != SuperviseMode::Barge)
        {
            return Err(Refused::MayNotWrite);
        }
        let (from, client_id) = key;
        let body = text.expose();
        let length = body.chars().take(MAX_CHAT_CHARS + 1).count();
        let blank = body.chars().all(char::is_whitespace);
        if blank || length > MAX_CHAT_CHARS || client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES {
            return Err(Refused::InvalidChat);
        }
        if log.messages.len() >= MAX_CHAT_MESSAGES || log.bytes + body.len() > MAX_CHAT_BYTES {
            return Err(Refused::ChatFull);
        }
        let id = self.ids.next_id();
        let message = self.book.edit_call(call, |open| {
            open.record.chat_seq += 1;
            let seq = open.record.chat_seq;
            let message = ChatMessage {
                id,
                call,
                seq,
                from,
                client_id,
                text,
                at: step.now,
            };
            open.chat.add(message.clone());
            message
        });
        if let Some(message) = message {
            step.chat.push(message.clone());
            step.first.push(Action::ChatAdded(message));
        }
        Ok(())
    }
}
