//! Chat in open calls.

use callkit_core::call::Party;
use callkit_core::id::CallId;
use callkit_core::redact::Private;
use callkit_core::store::SessionStore as _;
use callkit_routing::{Action, Input, MAX_CHAT_MESSAGES, Refused};

use crate::world::{World, agent_party, now_or_panic};

fn line(call: CallId, from: Party, client_id: &str, text: &str) -> Input {
    Input::Chat {
        call,
        from,
        client_id: client_id.to_owned(),
        text: Private::new(text.to_owned()),
    }
}

#[test]
fn the_customer_writes_while_waiting_and_the_agent_once_in_the_call() {
    let mut world = World::new();
    world.available("a");
    let call = world.calls();
    world.run(line(call, Party::Customer, "1", "hello"));
    assert_eq!(
        world.attempt(line(call, agent_party("a"), "1", "hi")),
        Err(Refused::NotInCall)
    );
    world.accept("a");
    world.run(line(call, agent_party("a"), "1", "hi"));
    let seqs: Vec<_> = now_or_panic(world.store.chat(call))
        .unwrap()
        .iter()
        .map(|one| one.seq)
        .collect();
    assert_eq!(seqs, [1, 2]);
}

#[test]
fn a_message_sent_again_is_shown_again_and_kept_once_also_after_a_restart() {
    let mut world = World::new();
    let call = world.calls();
    world.run(line(call, Party::Customer, "1", "hello"));
    let first = world.actions.clone();
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        world.run(line(call, Party::Customer, "1", "hello"));
        let Some(Action::ChatAdded(message)) = world.actions.first() else {
            panic!("shown again")
        };
        assert!(first.contains(&Action::ChatAdded(message.clone())));
        assert_eq!(now_or_panic(world.store.chat(call)).unwrap().len(), 1);
    }
}

#[test]
fn empty_blank_or_oversized_messages_are_refused() {
    let mut world = World::new();
    let call = world.calls();
    let (long, long_id) = ("ж".repeat(4001), "x".repeat(65));
    for (id, text) in [
        ("1", ""),
        ("1", " \n"),
        ("1", &long),
        ("", "hi"),
        (&long_id, "hi"),
    ] {
        assert_eq!(
            world.attempt(line(call, Party::Customer, id, text)),
            Err(Refused::InvalidChat)
        );
    }
    world.run(line(call, Party::Customer, "1", &"ж".repeat(4000)));
}

#[test]
fn the_chat_of_a_call_is_bounded_in_lines_and_bytes() {
    let mut world = World::new();
    let call = world.calls();
    for number in 0..MAX_CHAT_MESSAGES {
        world.run(line(call, Party::Customer, &number.to_string(), "x"));
    }
    assert_eq!(
        world.attempt(line(call, Party::Customer, "more", "x")),
        Err(Refused::ChatFull)
    );

    let call = world.calls();
    let text = "x".repeat(4000);
    let sent = (0..1000).take_while(|number| {
        world
            .attempt(line(call, Party::Customer, &number.to_string(), &text))
            .is_ok()
    });
    assert_eq!(sent.count(), 512 * 1024 / 4000);
}

#[test]
fn nobody_writes_into_an_ended_call() {
    let mut world = World::new();
    let call = world.talk("a");
    world.run(Input::HangUp {
        call,
        by: Party::Customer,
    });
    assert_eq!(
        world.attempt(line(call, Party::Customer, "1", "hello")),
        Err(Refused::UnknownCall)
    );
}
