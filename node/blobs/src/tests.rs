//! Blobs over links in memory and over QUIC, with paths that break and disks that forget.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tetryx_link::memory::Hub;
use tetryx_link::{Admission, Endpoint, Handler, LinkConfig, Links, Roster, Service};
use tetryx_protocol::id::ClusterId;

use super::*;

const MIB: usize = 1 << 20;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

#[derive(Debug)]
struct Served(Blobs);

impl Handler for Served {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        unreachable!("blobs travel on streams")
    }

    fn open(&self, from: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()> {
        assert_eq!(service, Service::Blobs);
        let blobs = self.0.clone();
        async move { blobs.serve(from, channel).await }.boxed()
    }
}

/// Hands requests on to another node, and breaks off after so many bytes of the answer.
#[derive(Debug)]
struct Relay {
    links: Arc<dyn Links>,
    to: NodeId,
    limit: usize,
}

impl Handler for Relay {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        unreachable!("blobs travel on streams")
    }

    fn open(&self, _: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()> {
        let (links, to, mut left) = (Arc::clone(&self.links), self.to, self.limit);
        async move {
            let (mut back, mut asked) = (channel.send, channel.recv);
            let mut onward = links.open(to, service).await.unwrap();
            let request = asked.read_to_end(MIB).await.unwrap();
            onward.send.write_bytes(request).await.unwrap();
            onward.send.finish().unwrap();
            while let Ok(Some(bytes)) = onward.recv.read(left.max(1)).await {
                if left == 0 {
                    // Let what was written arrive before the reset overtakes it.
                    let _ = back.finish();
                    return;
                }
                left -= bytes.len();
                back.write_bytes(bytes).await.unwrap();
            }
            let _ = back.finish();
        }
        .boxed()
    }
}

/// A provider at seat 1, a getter at seat 2, and a relay at seat 3 that breaks off.
struct Fixture {
    dir: TempDir,
    hub: Hub,
    provider: Blobs,
    links: Arc<dyn Links>,
}

impl Fixture {
    async fn new() -> Self {
        let (dir, hub) = (tempfile::tempdir().unwrap(), Hub::new());
        let provider = Blobs::open(&dir.path().join("provider")).await.unwrap();
        hub.join(node(1)).serve(Arc::new(Served(provider.clone())));
        let links = hub.join(node(2));
        Self {
            dir,
            hub,
            provider,
            links,
        }
    }

    fn break_off_after(&self, limit: usize) {
        let links = self.hub.join(node(3));
        let relay = Relay {
            links: Arc::clone(&links) as _,
            to: node(1),
            limit,
        };
        links.serve(Arc::new(relay));
    }

    async fn getter(&self) -> Blobs {
        Blobs::open(&self.dir.path().join("getter")).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn provide(&self, bytes: &[u8]) -> BlobHash {
        let file = self.path(&BlobHash::of(bytes).fmt_short());
        std::fs::write(&file, bytes).unwrap();
        self.provider.import_file(&file).await.unwrap()
    }

    async fn fetch(&self, getter: &Blobs, from: u8, hash: BlobHash) -> Result<FetchedBlob, BlobError> {
        getter
            .fetch(self.links.as_ref(), node(from), hash, &self.path("fetched"))
            .await
    }

    fn fetched(&self) -> Vec<u8> {
        std::fs::read(self.path("fetched")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_any_length_arrives_as_it_was() {
    let fixture = Fixture::new().await;
    let getter = fixture.getter().await;
    for len in [0, 1, 16 << 10, (16 << 10) + 1, 5 * MIB + 7] {
        let bytes = noise(len as u64, len);
        let hash = fixture.provide(&bytes).await;
        assert_eq!(hash, BlobHash::of(&bytes));

        let fetched = fixture.fetch(&getter, 1, hash).await.unwrap();

        assert_eq!(fetched.bytes, len as u64);
        assert_eq!(fixture.fetched(), bytes);
    }
    assert_eq!(
        std::fs::read_dir(fixture.path("getter/fetching"))
            .unwrap()
            .count(),
        0,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_broke_off_goes_on_from_there_even_in_another_process() {
    // given a fetch of 8 MiB that breaks off after 3, twice
    let fixture = Fixture::new().await;
    let bytes = noise(1, 8 * MIB);
    let hash = fixture.provide(&bytes).await;
    fixture.break_off_after(3 * MIB);
    for _ in 0..2 {
        let getter = fixture.getter().await;
        let error = fixture.fetch(&getter, 3, hash).await.unwrap_err();
        assert!(matches!(error, BlobError::BrokenOff { .. }), "{error}");
        getter.close().await.unwrap();
    }

    // when another process fetches it from another node
    let fetched = fixture.fetch(&fixture.getter().await, 1, hash).await.unwrap();

    // then only the rest came over the link
    assert_eq!(fixture.fetched(), bytes);
    let rest = 2 * MIB as u64;
    assert!(fetched.received <= rest + (256 << 10), "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_a_crash_took_are_noticed_and_the_fetch_starts_over() {
    // given a fetch that broke off, and a disk that has lost some of what arrived
    let fixture = Fixture::new().await;
    let bytes = noise(1, 8 * MIB);
    let hash = fixture.provide(&bytes).await;
    fixture.break_off_after(3 * MIB);
    let getter = fixture.getter().await;
    fixture.fetch(&getter, 3, hash).await.unwrap_err();
    let kept = fixture
        .path("getter/fetching")
        .join(hash.to_string())
        .join("data");
    let mut data = std::fs::read_dir(kept)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let data = data
        .find(|path| path.extension().is_some_and(|e| e == "data"))
        .unwrap();
    let mut lost = std::fs::read(&data).unwrap();
    lost[MIB..MIB + 4096].fill(0);
    std::fs::write(&data, lost).unwrap();

    // when it is resumed
    let error = fixture.fetch(&getter, 1, hash).await.unwrap_err();

    // then the damage is noticed, and the next attempt has everything
    assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
    assert!(!fixture.path("fetched").exists());
    fixture.fetch(&getter, 1, hash).await.unwrap();
    assert_eq!(fixture.fetched(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_ended_before_the_file_had_its_name_is_finished_by_the_next() {
    let fixture = Fixture::new().await;
    let bytes = noise(1, 2 * MIB);
    let hash = fixture.provide(&bytes).await;
    let whole = fixture.path(&format!("fetched.{}.partial", hash.fmt_short()));
    let getter = fixture.getter().await;

    std::fs::write(&whole, &bytes).unwrap();
    assert_eq!(fixture.fetch(&getter, 1, hash).await.unwrap().received, 0);
    assert_eq!(fixture.fetched(), bytes);

    std::fs::write(&whole, &bytes[1..]).unwrap();
    assert_eq!(
        fixture.fetch(&getter, 1, hash).await.unwrap().received,
        bytes.len() as u64
    );
    assert_eq!(fixture.fetched(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_changed_is_not_served() {
    let fixture = Fixture::new().await;
    let mut bytes = noise(1, 2 * MIB);
    let hash = fixture.provide(&bytes).await;
    bytes[MIB] ^= 1;
    std::fs::write(fixture.path(&hash.fmt_short()), &bytes).unwrap();

    let error = fixture.fetch(&fixture.getter().await, 1, hash).await.unwrap_err();

    assert!(matches!(error, BlobError::BrokenOff { .. }), "{error}");
    assert!(!fixture.path("fetched").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_does_not_have_it_cannot_send() {
    let fixture = Fixture::new().await;
    let getter = fixture.getter().await;
    let unknown = BlobHash::of(b"nobody has this");

    let error = fixture.fetch(&getter, 1, unknown).await.unwrap_err();
    assert!(matches!(error, BlobError::BrokenOff { .. }), "{error}");

    let error = fixture.fetch(&getter, 9, unknown).await.unwrap_err();
    assert!(matches!(error, BlobError::Link { .. }), "{error}");
    getter.abandon(&unknown).await.unwrap();
    assert!(!fixture.path("getter/fetching").join(unknown.to_string()).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_file_is_served_after_a_restart() {
    let fixture = Fixture::new().await;
    let bytes = noise(1, 2 * MIB);
    let hash = fixture.provide(&bytes).await;
    fixture.provider.close().await.unwrap();

    let provider = Blobs::open(&fixture.path("provider")).await.unwrap();
    fixture.hub.join(node(1)).serve(Arc::new(Served(provider)));

    fixture.fetch(&fixture.getter().await, 1, hash).await.unwrap();
    assert_eq!(fixture.fetched(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_fetch_one_blob_into_one_file_take_turns() {
    let fixture = Fixture::new().await;
    let bytes = noise(1, MIB);
    let hash = fixture.provide(&bytes).await;
    let getter = fixture.getter().await;

    let fetches = (0..4).map(|_| fixture.fetch(&getter, 1, hash));
    let fetched = futures::future::join_all(fetches).await;

    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert_eq!(fixture.fetched(), bytes);
}

#[derive(Debug, Default)]
struct TwoNodes(Mutex<Vec<(NodeId, SocketAddr)>>);

impl Roster for TwoNodes {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([7; 16]), 1))
    }

    fn admission(&self, _: NodeId) -> Admission {
        Admission::Member
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        let nodes = self.0.lock();
        let known = nodes.iter().filter(|(id, _)| *id == node);
        known.map(|(_, address)| address.to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_travels_over_quic() {
    let fixture = Fixture::new().await;
    let roster = Arc::new(TwoNodes::default());
    let endpoint = |number: u8| {
        let key = SigningKey::from_bytes(&[number; 32]);
        let node = NodeId::from_bytes(key.verifying_key().to_bytes());
        let config = LinkConfig {
            key,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            roster: Arc::clone(&roster) as _,
        };
        let endpoint = Endpoint::bind(config).unwrap();
        roster.0.lock().push((node, endpoint.local_addr().unwrap()));
        (node, endpoint)
    };
    let ((provider, server), (_, client)) = (endpoint(1), endpoint(2));
    server.serve(Arc::new(Served(fixture.provider.clone())));
    let bytes = noise(1, 9 * MIB + 1);
    let hash = fixture.provide(&bytes).await;
    let getter = fixture.getter().await;

    let fetched = getter
        .fetch(&client, provider, hash, &fixture.path("fetched"))
        .await
        .unwrap();

    assert_eq!(
        (fetched.bytes, fetched.received),
        (bytes.len() as u64, bytes.len() as u64)
    );
    assert_eq!(fixture.fetched(), bytes);
}
