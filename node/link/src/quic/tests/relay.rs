//! A UDP relay: an address that stays while the node behind it is replaced.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::sync::watch;

pub(super) struct Relay {
    pub(super) address: String,
    target: watch::Sender<SocketAddr>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Relays between one client and whatever is at `target`.
    pub(super) async fn to(target: &str) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap().to_string();
        let (target, seen) = watch::channel(target.parse().unwrap());
        let task = tokio::spawn(async move {
            let mut client = None;
            let (mut there, mut back_again) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        let target = *seen.borrow();
                        let _ = back.send_to(&there[..len], target).await;
                    }
                    Ok((len, from)) = back.recv_from(&mut back_again) => {
                        let current = *seen.borrow() == from;
                        if let Some(client) = client.filter(|_| current) {
                            let _ = front.send_to(&back_again[..len], client).await;
                        }
                    }
                }
            }
        });
        Self {
            address,
            target,
            task,
        }
    }

    /// From now on, somebody else is behind the address, and who was there before is not heard any more.
    pub(super) fn turn_to(&self, target: &str) {
        self.target.send_replace(target.parse().unwrap());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
