//! The life of one call, without network: a customer asks, the first operator declines, the second one
//! takes the call, they talk, the customer hangs up. Shows the routing alone, driven by hand in virtual time,
//! with the store in memory.
//!
//! Run: `cargo run -p callkit-examples --example minimal_call`

#![expect(clippy::print_stdout, reason = "an example that prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use callkit_core::agent::{AgentProfile, Presence};
use callkit_core::call::{CallState, Customer, Party};
use callkit_core::id::{AgentId, CallId, IdSource, OfferId, QueueId};
use callkit_core::memory::MemorySessionStore;
use callkit_core::redact::Private;
use callkit_core::store::SessionStore;
use callkit_core::time::Timestamp;
use callkit_routing::{Action, Dispatcher, Effects, Input, LongestIdle, QueueConfig, RoutingConfig};

/// A driver at its smallest: decide, write, act. The server does the same with sockets.
struct Desk {
    dispatcher: Dispatcher,
    store: MemorySessionStore,
    now: Timestamp,
}

impl Desk {
    /// Lets `input` happen; gives the offer that begins to ring, if one does.
    async fn happens(&mut self, input: Input) -> Result<Option<(AgentId, OfferId)>, Box<dyn Error>> {
        self.now = self.now + Duration::from_secs(1);
        let mut fx = Effects::default();
        self.dispatcher.handle(self.now, input, &mut fx)?;
        // Nothing is shown before it is durable.
        self.store.commit(&fx.commit).await?;
        for event in &fx.commit.events {
            println!("{:?}  {}", event.at, describe(&event.kind));
        }
        Ok(fx.actions.iter().rev().find_map(|action| match action {
            Action::OfferMade { agent, offer, .. } => Some((agent.clone(), *offer)),
            _ => None,
        }))
    }
}

/// What happened, for people.
fn describe(kind: &callkit_core::event::EventKind) -> String {
    format!("{kind:?}")
}

fn agent(id: &str, name: &str, queue: &QueueId) -> Result<AgentProfile, Box<dyn Error>> {
    Ok(AgentProfile {
        id: AgentId::new(id)?,
        name: Private::new(name.to_owned()),
        queues: vec![queue.clone()],
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueId::new("support")?;
    let config = RoutingConfig {
        queues: vec![QueueConfig::new(queue.clone(), "Support")],
        agents: vec![agent("irina", "Irina", &queue)?, agent("oleg", "Oleg", &queue)?],
        ..RoutingConfig::default()
    };
    config.check()?;
    let mut desk = Desk {
        dispatcher: Dispatcher::new(&config, Arc::new(LongestIdle), IdSource::seeded(1)),
        store: MemorySessionStore::default(),
        now: Timestamp::from_millis(0),
    };

    for profile in &config.agents {
        desk.happens(Input::AgentLink {
            agent: profile.id.clone(),
            up: true,
        })
        .await?;
        let presence = Presence::Available;
        desk.happens(Input::SetPresence {
            agent: profile.id.clone(),
            presence,
        })
        .await?;
    }

    let customer = Customer {
        id: IdSource::seeded(2).next_id(),
        name: None,
        verified: false,
    };
    let who = customer.id;
    let ringing = desk
        .happens(Input::RequestCall {
            customer,
            queue,
            priority: 0,
        })
        .await?;
    let (first, offer) = ringing.ok_or("it rings at once: two agents are free")?;
    let ringing = desk.happens(Input::Decline { agent: first, offer }).await?;
    let (second, offer) = ringing.ok_or("a declined call rings at the next agent at once")?;
    desk.happens(Input::Accept {
        agent: second.clone(),
        offer,
    })
    .await?;

    let call: CallId = desk
        .dispatcher
        .call_of_customer(who)
        .ok_or("the call is open")?
        .id;
    desk.happens(Input::MediaUp {
        call,
        party: Party::Customer,
    })
    .await?;
    desk.happens(Input::MediaUp {
        call,
        party: Party::Agent(second),
    })
    .await?;
    desk.happens(Input::HangUp {
        call,
        by: Party::Customer,
    })
    .await?;

    let record = desk.store.call(call).await?.ok_or("the history has the call")?;
    if let CallState::Ended { reason, .. } = record.state {
        println!(
            "the history says: {reason:?}, {} offers",
            record.segments[0].offers.len()
        );
    }
    Ok(())
}
