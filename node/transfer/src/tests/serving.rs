//! The server against peers that ask well, badly, or for too much.

use tetryx_link::memory::Hub;
use tetryx_link::{LinkError, Links};
use tetryx_protocol::chunk_wire::{Answer, AnswerDecoder};

use super::*;

async fn ask(links: &MemoryLinks, of: u8, requests: &[Request]) -> Result<Vec<Answer>, LinkError> {
    let mut channel = links.open(node(of), Service::Chunks).await?;
    let mut decoder = AnswerDecoder::new();
    for request in requests {
        channel.send.write_bytes(encoded(request)).await?;
        decoder.expect(request.kind(), request.count());
    }
    channel.send.finish()?;
    let mut answers = Vec::new();
    while let Some(bytes) = channel.recv.read(1 << 20).await? {
        decoder.push(bytes);
        while let Some(answer) = decoder.next().unwrap() {
            answers.push(answer);
        }
    }
    decoder.finish().unwrap();
    Ok(answers)
}

#[tokio::test]
async fn every_item_is_answered_in_order_whatever_became_of_it() {
    // given a server that has a chunk and a manifest, lacks a chunk, and has one damaged
    let (hub, nar) = (Hub::new(), Nar::of(1, 4, 40_000));
    let server = Station::serving(&hub, 1, &nar);
    let place = server.store.locate(&[nar.frames[2].0]).unwrap()[0].unwrap();
    server.disk.flip_bit(
        &format!("segment-{:010}.pack", place.segment),
        place.offset + 200,
        3,
    );
    let getter = Station::new(&hub, 2);
    let unknown = Nar::of(2, 1, 1_000);

    // when all are asked for on one stream
    let chunks = [
        nar.frames[3].0,
        unknown.frames[0].0,
        nar.frames[2].0,
        nar.frames[0].0,
    ];
    let requests = [
        Request::Chunks(chunks.to_vec()),
        Request::Manifests(vec![unknown.name, nar.name]),
    ];
    let answers = ask(&getter.links, 1, &requests).await.unwrap();

    // then each gets its own answer
    let found = |at: usize| Answer::Found {
        raw_len: nar.frames[at].1,
        bytes: nar.frames[at].2.clone().into(),
    };
    let manifest = Answer::Found {
        raw_len: nar.manifest.encode().len() as u32,
        bytes: nar.manifest.encode().into(),
    };
    let expected = [
        found(3),
        Answer::Missing,
        Answer::Damaged,
        found(0),
        Answer::Missing,
        manifest,
    ];
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn a_long_request_is_answered_in_the_order_it_was_asked() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 300, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    let hashes: Vec<ChunkHash> = nar.frames.iter().rev().map(|(hash, _, _)| *hash).collect();

    let answers = ask(&getter.links, 1, &[Request::Chunks(hashes)]).await.unwrap();

    let expected = nar.frames.iter().rev().map(|(_, raw_len, frame)| Answer::Found {
        raw_len: *raw_len,
        bytes: frame.clone().into(),
    });
    assert!(answers.into_iter().eq(expected));
}

#[tokio::test]
async fn garbage_ends_the_stream_and_nothing_else() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 2, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    for garbage in [&[0, 0, 1][..], &[1, 0, 9], &[255, 255, 1], &[1, 0, 1, 7, 7]] {
        let mut channel = getter.links.open(node(1), Service::Chunks).await.unwrap();
        channel.send.write_all(garbage).await.unwrap();
        channel.send.finish().unwrap();

        let answer = channel.recv.read_to_end(1 << 20).await;

        assert!(matches!(answer, Err(LinkError::Broken { .. })), "{answer:?}");
    }
    let hashes = vec![nar.frames[0].0];
    assert_eq!(
        ask(&getter.links, 1, &[Request::Chunks(hashes)])
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_what_it_asks_for_holds_nobody_else_up() {
    // given a peer with a hundred streams that it never reads
    let (hub, nar) = (Hub::new(), Nar::of(1, 100, 131_072));
    Station::serving(&hub, 1, &nar);
    let (greedy, modest) = (Station::new(&hub, 2), Station::new(&hub, 3));
    let all = Request::Chunks(nar.frames.iter().map(|(hash, _, _)| *hash).collect());
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut channel = greedy.links.open(node(1), Service::Chunks).await.unwrap();
        channel.send.write_bytes(encoded(&all)).await.unwrap();
        streams.push(channel);
    }

    // then another one is served as ever
    let answers = ask(&modest.links, 1, &[all]).await.unwrap();
    assert_eq!(answers.len(), 100);
    drop(streams);
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nothing_happens_is_left_after_a_while() {
    let (hub, nar) = (Hub::new(), Nar::of(1, 2, 40_000));
    Station::serving(&hub, 1, &nar);
    let getter = Station::new(&hub, 2);
    let mut channel = getter.links.open(node(1), Service::Chunks).await.unwrap();

    let answer = channel.recv.read(1).await;

    assert!(matches!(answer, Err(LinkError::Broken { .. })), "{answer:?}");
}
