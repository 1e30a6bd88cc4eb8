//! Every implementation of a port against the port's suite, as the server holds them: behind `Arc<dyn ..>`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod store;

/// Runs `future` with the reactor and timers that the adapters need.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system gives a reactor").block_on(future)
}
