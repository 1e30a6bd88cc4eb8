//! The three things the standard library does not do: wait for two sockets, wake a waiting thread, pin it.

use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes the thread that holds the other end.
#[derive(Debug, Clone)]
pub(super) struct Waker {
    stream: Arc<UnixStream>,
    /// Set while a wake-up is under way: a thousand commands need one.
    pending: Arc<AtomicBool>,
}

/// The end that is waited on.
#[derive(Debug)]
pub(super) struct WakeReceiver {
    stream: UnixStream,
    pending: Arc<AtomicBool>,
}

/// A connected pair.
pub(super) fn waker() -> io::Result<(Waker, WakeReceiver)> {
    let (sender, receiver) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let pending = Arc::new(AtomicBool::new(false));
    let waker = Waker {
        stream: Arc::new(sender),
        pending: Arc::clone(&pending),
    };
    Ok((
        waker,
        WakeReceiver {
            stream: receiver,
            pending,
        },
    ))
}

impl Waker {
    pub(super) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // Full means that wake-ups are under way; closed means that nobody waits any more.
            let _ = (&*self.stream).write(&[1]);
        }
    }
}

impl WakeReceiver {
    /// Takes the wake-up. What was sent before it is visible afterwards.
    pub(super) fn take(&mut self) {
        let mut bytes = [0; 16];
        while matches!(self.stream.read(&mut bytes), Ok(count) if count > 0) {}
        // Read and write in one: what a sender put before its own swap is seen by whoever looks after this one.
        self.pending.swap(false, Ordering::AcqRel);
    }
}

/// What has become ready.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) socket: bool,
    pub(super) woken: bool,
    pub(super) tcp: bool,
}

/// Waits until a datagram, something on a TCP connection or a wake-up is there, at most `timeout`.
#[expect(unsafe_code, reason = "poll(2) has no safe form in the standard library")]
pub(super) fn wait(
    socket: &UdpSocket,
    wake: &WakeReceiver,
    tcp: Option<RawFd>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [
        entry(socket.as_raw_fd()),
        entry(wake.stream.as_raw_fd()),
        // Negative ones are passed over.
        entry(tcp.unwrap_or(-1)),
    ];
    // Rounded up: waking before a deadline would only spin.
    let millis = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    // SAFETY: `entries` is a valid array of three pollfd for the duration of the call; what a descriptor that
    // is not open any more does is an event of its own.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), 3, millis) };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(Ready::default())
        } else {
            Err(error)
        };
    }
    Ok(Ready {
        socket: entries[0].revents != 0,
        woken: entries[1].revents != 0,
        tcp: entries[2].revents != 0,
    })
}

/// Binds the calling thread to a core. Best effort: a container may not allow it.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "sched_setaffinity(2) has no safe form in the standard library"
)]
pub(super) fn pin_to_core(core: usize) {
    // SAFETY: a zeroed cpu_set_t is an empty set; CPU_SET checks the bounds; the call reads the set only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Elsewhere threads run where the system puts them.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_to_core(_core: usize) {}
