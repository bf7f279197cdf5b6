//! Who may connect: so many clients in all, and so many of one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::kafka::metrics::{Closed, Metrics};

/// Of an IPv6 address, what one customer of a network has.
const PREFIX_V6: u128 = !0 << 64;

/// The connections of all listeners.
#[derive(Debug)]
pub struct Admission {
    metrics: Arc<Metrics>,
    max: usize,
    max_of_address: usize,
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    closing: Semaphore,
}

/// A connection, counted for as long as it is open.
#[derive(Debug)]
pub struct Open {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Lets in `max` connections, and of one address (of IPv6 one /64) at most `max_of_address`.
    pub fn new(metrics: Arc<Metrics>, max: usize, max_of_address: usize) -> Arc<Admission> {
        Arc::new(Admission {
            metrics,
            max,
            max_of_address,
            by_address: Mutex::default(),
            closing: Semaphore::new(1),
        })
    }

    /// Counts a connection in, or says what there are too many of.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub fn admit(self: &Arc<Admission>, address: IpAddr) -> Result<Open, Closed> {
        let address = group(address);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.get(&address).copied().unwrap_or(0);
        if open >= self.max_of_address {
            return Err(Closed::TooManyOfAddress);
        }
        let room = |open: u64| (open < self.max as u64).then_some(open + 1);
        self.metrics.connections.fetch_update(Relaxed, Relaxed, room).map_err(|_full| Closed::TooMany)?;
        self.metrics.connections_total.fetch_add(1, Relaxed);
        by_address.insert(address, open + 1);
        Ok(Open { admission: Arc::clone(self), address })
    }

    /// Waits for this connection's turn to be closed. Closing takes the kernel longer than most requests take the node, so thousands that end at
    /// once go one by one, and the requests of others in between.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.closing.acquire().await.ok()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.admission.metrics.connections.fetch_sub(1, Relaxed);
        let mut by_address = self.admission.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & PREFIX_V6)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let admission = Admission::new(Arc::default(), 4, 2);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let first = admit("10.0.0.1").unwrap();
        let _second = admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), Closed::TooManyOfAddress);
        let _third = admit("2001:db8::1").unwrap();
        let _fourth = admit("2001:db8::2").unwrap();
        assert_eq!(admit("2001:db8::3").unwrap_err(), Closed::TooManyOfAddress);
        assert_eq!(admit("2001:db8:0:1::1").unwrap_err(), Closed::TooMany);
        drop(first);
        let _again = admit("10.0.0.1").unwrap();
        assert_eq!(admission.metrics.connections.load(Relaxed), 4);
    }
}
