//! Chat: to everybody in the call, once, in order, over lost connections.

use callkit_core::redact::Private;
use callkit_signal::message::{ChatView, Event, Outcome, Request, Role};

use crate::world::{Person, World};

fn line(call: callkit_core::id::CallId, client_id: &str, text: &str) -> Request {
    Request::ChatSend {
        call,
        client_id: client_id.to_owned(),
        text: Private::new(text.to_owned()),
    }
}

fn lines(events: &[Event]) -> Vec<&ChatView> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Chat { message } => Some(message),
            _ => None,
        })
        .collect()
}

fn texts(lines: &[&ChatView]) -> Vec<String> {
    lines.iter().map(|line| line.text.expose().clone()).collect()
}

async fn heard(person: &mut Person) -> Vec<String> {
    let heard = person.heard().await;
    texts(&lines(&heard))
}

#[tokio::test(start_paused = true)]
async fn a_line_reaches_both_sides_and_only_its_author_sees_its_key() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let outcome = talk.customer.ask(line(talk.call, "c1", "hello")).await.unwrap();
    let Outcome::Chat { message } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(message.mine && message.seq == 1 && message.client_id.as_deref() == Some("c1"));

    let heard = talk.operator.heard().await;
    let [seen] = lines(&heard)[..] else {
        panic!("one line: {heard:?}")
    };
    assert_eq!(
        (seen.from, seen.mine, seen.client_id.clone()),
        (Role::Customer, false, None)
    );
    let own = talk.customer.heard().await;
    assert_eq!(lines(&own), [&message]);
}

#[tokio::test(start_paused = true)]
async fn a_line_sent_again_is_kept_and_shown_once() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    let first = talk.customer.ask(line(talk.call, "c1", "hello")).await;
    let again = talk.customer.ask(line(talk.call, "c1", "hello")).await;
    assert_eq!(first, again);
    assert_eq!(heard(&mut talk.operator).await, ["hello"]);
    assert_eq!(world.store.chat(talk.call).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_operator_gets_what_was_written_while_the_customer_waited() {
    let world = World::new().await;
    let mut operator = world.operator("irina").await;
    let (customer, call) = world.caller(1).await;
    let offer = operator.rings().await;
    customer.ask(line(call, "c1", "my order is late")).await.unwrap();
    assert_eq!(
        heard(&mut operator).await,
        [""; 0],
        "not before the operator is in the call"
    );
    operator
        .ask(Request::OfferAccept { offer: offer.id })
        .await
        .unwrap();
    assert_eq!(heard(&mut operator).await, ["my order is late"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_loses_no_line_and_repeats_none() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.operator.ask(line(talk.call, "o1", "one")).await.unwrap();
    assert_eq!(heard(&mut talk.customer).await, ["one"]);

    talk.customer.client.drop_connection();
    talk.operator.ask(line(talk.call, "o2", "two")).await.unwrap();
    talk.operator.ask(line(talk.call, "o3", "three")).await.unwrap();
    world.resume(&talk.customer).await;
    talk.operator.ask(line(talk.call, "o4", "four")).await.unwrap();
    assert_eq!(heard(&mut talk.customer).await, ["two", "three", "four"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_starts_anew_finds_the_chat_in_its_snapshot() {
    let world = World::new().await;
    let mut talk = world.talk().await;
    talk.operator.ask(line(talk.call, "o1", "one")).await.unwrap();
    talk.customer.ask(line(talk.call, "c1", "two")).await.unwrap();
    for (token, mine) in [("customer:1", [false, true]), ("operator:irina", [true, false])] {
        let mut person = world.sign_in(token).await;
        let chat = &person.snapshot.chat;
        assert_eq!(texts(&chat.iter().collect::<Vec<_>>()), ["one", "two"]);
        assert_eq!(chat.iter().map(|line| line.mine).collect::<Vec<_>>(), mine);
        assert_eq!(heard(&mut person).await, [""; 0]);
    }
    assert_eq!(heard(&mut talk.operator).await, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_is_refused_and_the_call_goes_on() {
    let world = World::new().await;
    let talk = world.talk().await;
    assert_eq!(
        talk.customer.refused(line(talk.call, "c1", "")).await,
        "chat_invalid"
    );
    assert!(talk.customer.ask(line(talk.call, "c1", "hello")).await.is_ok());
}
