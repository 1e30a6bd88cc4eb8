//! What the standard library does not do: wait for two sockets, wake a waiting thread, pin it, ask for its CPU time
//! and for what a socket has dropped.

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

/// Waits until something on a TCP connection, a wake-up or, unless `socket` is `None`, a datagram is there, at most
/// `timeout`.
#[expect(unsafe_code, reason = "ppoll(2) has no safe form in the standard library")]
pub(super) fn wait(
    socket: Option<&UdpSocket>,
    wake: &WakeReceiver,
    tcp: Option<RawFd>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // A negative descriptor is passed over.
    let mut entries = [
        entry(socket.map_or(-1, AsRawFd::as_raw_fd)),
        entry(wake.stream.as_raw_fd()),
        entry(tcp.unwrap_or(-1)),
    ];
    // Milliseconds, as poll(2) has them, would make up to one of each deadline.
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` is a valid array of three pollfd for the duration of the call, and the time is null or lives
    // until the end of this function; what a descriptor that is not open any more does is an event of its own.
    let count = unsafe { libc::ppoll(entries.as_mut_ptr(), 3, timeout, std::ptr::null()) };
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

/// Processor time that the calling thread has used; zero where the system does not tell.
#[expect(unsafe_code, reason = "clock_gettime(2) has no safe form for this clock")]
pub(super) fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that the call writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    match (result, u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (0, Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}

/// Datagrams that the kernel dropped because nobody took them from `socket` in time; zero where the system
/// does not tell.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "SO_MEMINFO has no safe form in the standard library")]
pub(super) fn dropped_by(socket: &UdpSocket) -> u32 {
    /// SK_MEMINFO_VARS and SK_MEMINFO_DROPS of linux/sock_diag.h.
    const VARS: usize = 9;
    const DROPS: usize = 8;
    let mut values = [0_u32; VARS];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the buffer is valid for `length` bytes, which the call shortens if it writes less.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { values[DROPS] } else { 0 }
}

/// Elsewhere the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn dropped_by(_socket: &UdpSocket) -> u32 {
    0
}

/// Switches off what is told about each datagram and nobody reads: its time of arrival and its traffic class.
/// Each costs on the packet path. Best effort.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "these options have no safe form in the standard library"
)]
pub(super) fn receive_plainly(socket: &UdpSocket) {
    let off: libc::c_int = 0;
    for (level, option) in [
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
        (libc::IPPROTO_IP, libc::IP_RECVTOS),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
    ] {
        // SAFETY: the value is a valid int of the given size, and the descriptor is open.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const off).cast(),
                size_of_val(&off) as libc::socklen_t,
            );
        }
    }
}

/// Elsewhere they stay.
#[cfg(not(target_os = "linux"))]
pub(super) fn receive_plainly(_socket: &UdpSocket) {}

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
