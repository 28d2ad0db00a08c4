//! Wakes a task at its instant. Tokio's timers count whole ms, rounded up, and wake one to two ms late; the
//! kernel's wake within some tenths of a ms.

use std::time::Instant;

#[cfg(target_os = "linux")]
pub use kernel::PreciseTimer;

/// Where the kernel has no timer that can be waited on, tokio's serves.
#[cfg(not(target_os = "linux"))]
pub struct PreciseTimer;

#[cfg(not(target_os = "linux"))]
impl PreciseTimer {
    /// There is nothing to open.
    pub fn open() -> Self {
        Self
    }

    /// Completes at `at`, never before, and one to two ms late.
    pub async fn at(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    use super::Instant;

    /// A timer of the kernel.
    pub struct PreciseTimer {
        /// None where no file descriptor was left. It is read as a pipe is.
        timer: Option<Receiver>,
    }

    impl PreciseTimer {
        /// Panics outside a runtime.
        pub fn open() -> Self {
            Self { timer: timer().ok() }
        }

        /// Completes at `at`, never before, and at once if that has passed. One caller at a time.
        pub async fn at(&self, at: Instant) {
            let rung = match &self.timer {
                Some(timer) => wait(timer, at).await,
                None => Err(io::ErrorKind::Unsupported.into()),
            };
            if rung.is_err() {
                tokio::time::sleep_until(at.into()).await;
            }
        }
    }

    fn timer() -> io::Result<Receiver> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Receiver::from_owned_fd_unchecked(timerfd_create(TimerfdClockId::Monotonic, flags)?)
    }

    /// Setting the timer takes back what it was set to before, and a ring that nobody read.
    /// <https://man7.org/linux/man-pages/man2/timerfd_create.2.html>
    async fn wait(timer: &Receiver, at: Instant) -> io::Result<()> {
        // a timer set to zero never rings
        let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(left).map_err(io::Error::other)?,
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        let mut rings = [0; 8];
        loop {
            timer.readable().await?;
            match timer.try_read(&mut rings) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_alarm_is_never_early_and_can_be_set_again() {
        let timer = PreciseTimer::open();
        for ms in [3, 0, 1] {
            let far = timer.at(Instant::now() + Duration::from_secs(3_600));
            assert!(tokio::time::timeout(Duration::from_millis(2), far).await.is_err());
            let at = Instant::now() + Duration::from_millis(ms);
            timer.at(at).await;
            assert!(Instant::now() >= at);
            // a ring that is not waited for is not the next one's
            let _ = timer.at(Instant::now() + Duration::from_millis(1)).now_or_never();
            #[expect(clippy::disallowed_methods, reason = "so that the timer rings unread")]
            std::thread::sleep(Duration::from_millis(2));
        }
        timer.at(Instant::now() - Duration::from_secs(1)).await;
    }
}
