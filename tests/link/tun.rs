//! A TUN device: IP packets that the kernel routes to it, as reads and writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use tokio::io::unix::AsyncFd;

/// See the module. Lives as long as its file; may be moved to another network namespace meanwhile.
#[derive(Debug)]
pub(crate) struct Tun(AsyncFd<File>);

impl Tun {
    /// Makes the device `name`, down and without an address.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        attach(&file, name)?;
        register(file).map(Self)
    }

    /// Reads one packet.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            // Not ready after all: wait again.
            if let Ok(outcome) = ready.try_io(|file| file.get_ref().read(buffer)) {
                return outcome;
            }
        }
    }

    /// Writes one packet. One that the device does not take is lost, as on any link.
    pub(crate) fn write(&self, packet: &[u8]) -> bool {
        self.0.get_ref().write(packet).is_ok()
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
fn register(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor: it stays open and the same as long as the file lives, and the file
    // lives in what is made here.
    unsafe { AsyncFd::register(file) }.map_err(Into::into)
}

#[expect(unsafe_code, reason = "TUNSETIFF is an ioctl, which has no safe form")]
fn attach(file: &File, name: &str) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ || !name.is_ascii() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name of a device",
        ));
    }
    // SAFETY: a zeroed ifreq is a valid one: integers, and a name that ends with a zero as it is shorter.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open as `file` is borrowed; the kernel reads and writes one ifreq.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
