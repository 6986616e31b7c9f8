//! A service whose latencies are known, since it makes them.

use std::io::{self, BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::cmsg_space;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;

/// Before this a thread sleeps, after it it stays awake: the kernel wakes sleepers some 50 µs late.
const AWAKE: Duration = Duration::from_micros(300);

/// A service on this machine that takes times from a list in turn, answers at once when the list is empty, and stalls when
/// it is told to. A time counts from when the request came to its socket, and not from when its thread had woken up. A thread
/// for each connection, with nothing between it and the socket. Ends when dropped.
pub struct Known {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    times: Vec<Duration>,
    served: AtomicUsize,
    stall: Mutex<Option<(Instant, Instant)>>,
    over: AtomicBool,
}

impl Known {
    /// Takes these times in turn.
    pub fn start(times: Vec<Duration>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let known = Self { address: listener.local_addr()?, inner: Arc::new(Inner { times, ..Inner::default() }) };
        let inner = known.inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inner.over.load(Ordering::Relaxed) {
                    return;
                }
                let inner = inner.clone();
                // A client that goes away ends its thread.
                std::thread::spawn(move || serve(&inner, stream));
            }
        });
        Ok(known)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers nothing between `from` and `to`, then all that has come.
    pub fn stall(&self, from: Instant, to: Instant) {
        *self.inner.stall.lock().unwrap_or_else(PoisonError::into_inner) = Some((from, to));
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.inner.over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(inner: &Inner, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(&stream, ReceiveTimestampns, &true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(Stamped { stream, came: SystemTime::now() });
    while read_request(&mut reader)? {
        let came = Instant::now() - reader.get_ref().came.elapsed().unwrap_or_default();
        let nth = inner.served.fetch_add(1, Ordering::Relaxed);
        if !inner.times.is_empty() {
            wait_until(came + inner.times[nth % inner.times.len()]);
        }
        let stall = *inner.stall.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, to)) = stall
            && Instant::now() >= from
        {
            wait_until(to);
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")?;
    }
    Ok(())
}

/// A stream, and when what was read last had come.
struct Stamped {
    stream: TcpStream,
    came: SystemTime,
}

impl Read for Stamped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut buffers, mut control) = ([IoSliceMut::new(buffer)], cmsg_space!(TimeSpec));
        let message = recvmsg::<()>(self.stream.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty())?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(came) = control {
                self.came = SystemTime::UNIX_EPOCH + Duration::from(came);
            }
        }
        Ok(message.bytes)
    }
}

/// Reads a request to its end; false when there is none.
fn read_request(reader: &mut BufReader<Stamped>) -> io::Result<bool> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(true)
}

fn wait_until(due: Instant) {
    let ahead = due.saturating_duration_since(Instant::now());
    std::thread::sleep(ahead.saturating_sub(AWAKE));
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
