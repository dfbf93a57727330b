//! A request on its way, there and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tetryx_protocol::id::NodeId;
use tokio::sync::oneshot;

use super::Hub;
use super::observe::{Observer, Passage};
use super::pipe::pipe;
use super::seat::Seat;
use super::state::{Arrival, Departure, Fate, Held};
use super::way::{Doom, Way};
use crate::header::{Header, admit, judge};
use crate::links::{CALL_BYTES_MAX, answer_too_long};
use crate::{Channel, Handler, LinkError, RecvHalf, SendHalf, Service};

/// Where a request goes, and who sends it.
#[derive(Clone)]
pub(super) struct Trip {
    pub(super) hub: Hub,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) header: Header,
    /// The sender's own place.
    pub(super) own: Arc<Seat>,
}

/// A request that was let in.
struct Admitted {
    handler: Arc<dyn Handler>,
    seat: Arc<Seat>,
    observer: Option<Observer>,
}

/// What a handler answered; `None` if its node went away before, or it panicked.
type Carried = Option<(Arc<Seat>, Result<Bytes, String>)>;

impl Trip {
    pub(super) async fn call(self, body: Bytes) -> Result<Bytes, LinkError> {
        self.check_len(body.len())?;
        let departure = self.depart(body.len()).await?;
        let breaks = departure.fate == Fate::BreaksAfter;
        let carried = if departure.in_weather {
            // On its way, it needs the caller no more.
            let (tell, told) = oneshot::channel();
            tokio::spawn(self.clone().carry(departure, body, tell));
            match told.await {
                Ok(outcome) => outcome?,
                Err(_) => None,
            }
        } else {
            let admitted = self.arrive(&departure, || false).await?;
            let work = tokio::spawn(admitted.carry_out(&self, body));
            work.await.ok().flatten()
        };
        match self.back(carried, breaks).await? {
            Ok(body) if body.len() > CALL_BYTES_MAX => Err(self.refused(answer_too_long(body.len()))),
            Ok(body) => Ok(body),
            Err(reason) => Err(self.refused(reason)),
        }
    }

    pub(super) async fn open(self) -> Result<Channel, LinkError> {
        let departure = self.depart(0).await?;
        let Admitted { handler, seat, .. } = self.arrive(&departure, || false).await?;
        let (from, to, service) = (self.from, self.to, self.header.service);
        let doom = (departure.fate == Fate::BreaksAfter).then(|| Doom::draw(&self.hub));
        let way = |from, to| Way::new(self.hub.clone(), from, to, service, doom.clone());
        let (there_write, there_read, there) = pipe(way(from, to));
        let (back_write, back_read, back) = pipe(way(to, from));
        if let Some(doom) = &doom {
            doom.is_that_of([there.clone(), back.clone()]);
        }
        self.hub.watch_stream(from, to, there, back);
        let theirs = Channel {
            send: SendHalf::memory(from, back_write),
            recv: RecvHalf::memory(from, there_read),
        };
        tokio::spawn(async move {
            let _ = seat.carry_out(|| handler.open(from, service, theirs)).await;
        });
        Ok(Channel {
            send: SendHalf::memory(to, there_write),
            recv: RecvHalf::memory(to, back_read),
        })
    }

    /// Leaves, as soon as this node is not frozen and the path has room.
    async fn depart(&self, bytes: usize) -> Result<Departure, LinkError> {
        let mut left = bytes;
        loop {
            if self.own.is_gone() {
                return Err(self.unreachable("this endpoint is closed"));
            }
            let departed = self
                .hub
                .state
                .lock()
                .depart((self.from, self.to), self.header.kind, &mut left);
            match departed {
                Ok(departure) => return Ok(departure),
                Err(held) => held.pass().await,
            }
        }
    }

    /// Goes to the other node, where it is admitted or not. `late` is asked at the arrival.
    async fn arrive(&self, departure: &Departure, late: impl Fn() -> bool) -> Result<Admitted, LinkError> {
        after_wait(departure.delay).await;
        if departure.fate == Fate::BreaksBefore {
            self.hub.state.lock().tally.broken += 1;
            after_wait(self.hub.failure_after()).await;
            return Err(self.unreachable("the connection was lost"));
        }
        let arrival = self
            .hub
            .state
            .lock()
            .arrive((self.from, self.to), departure, late());
        self.enter(arrival).await
    }

    async fn enter(&self, mut arrival: Result<Arrival, Held>) -> Result<Admitted, LinkError> {
        let (seat, observer) = loop {
            match arrival {
                Ok(Arrival::At(seat, observer)) => break (seat, observer),
                Ok(Arrival::Cut) => {
                    after_wait(self.hub.failure_after()).await;
                    return Err(self.unreachable("the path is cut"));
                }
                Ok(Arrival::Nobody) => {
                    after_wait(self.hub.failure_after()).await;
                    return Err(self.unreachable("nobody answers"));
                }
                Err(held) => held.pass().await,
            }
            arrival = self.hub.state.lock().look_up(self.to);
        };
        if let Some(roster) = &seat.roster {
            let joining = self.header.service == Service::Join;
            admit(roster.as_ref(), self.from, joining)
                .and_then(|()| judge(roster.as_ref(), &self.header))
                .map_err(|reason| self.refused(reason))?;
        }
        match seat.handler().await {
            Some(handler) => Ok(Admitted {
                handler,
                seat,
                observer,
            }),
            None => Err(self.unreachable("the node is gone")),
        }
    }

    /// Takes a call to the handler, whether or not anybody still waits for its answer.
    async fn carry(
        self,
        departure: Departure,
        body: Bytes,
        tell: oneshot::Sender<Result<Carried, LinkError>>,
    ) {
        let admitted = match self.arrive(&departure, || tell.is_closed()).await {
            Ok(admitted) => admitted,
            Err(error) => return drop(tell.send(Err(error))),
        };
        if let Some(wait) = departure.again {
            tokio::spawn(self.clone().arrive_again(wait, body.clone()));
        }
        let carried = admitted.carry_out(&self, body).await;
        // A caller that has given up wants no answer.
        let _ = tell.send(Ok(carried));
    }

    /// Delivers a call once more, to whoever is there then.
    async fn arrive_again(self, wait: Duration, body: Bytes) {
        after_wait(wait).await;
        let arrival = {
            let mut state = self.hub.state.lock();
            if state.is_cut(self.from, self.to) {
                return;
            }
            state.look_up(self.to)
        };
        if let Ok(admitted) = self.enter(arrival).await {
            self.hub.state.lock().tally.duplicated += 1;
            // The caller has the first answer.
            let _ = admitted.carry_out(&self, body).await;
        }
    }

    /// Brings an answer back, unless the connection breaks.
    async fn back(&self, carried: Carried, breaks: bool) -> Result<Result<Bytes, String>, LinkError> {
        let Some((seat, mut answer)) = carried else {
            after_wait(self.hub.failure_after()).await;
            return Err(self.no_answer("the node is gone"));
        };
        let mut left = match &answer {
            Ok(body) => body.len(),
            Err(reason) => reason.len(),
        };
        let sent = loop {
            let sent = self.hub.state.lock().answer(self.to, self.from, &mut left);
            match sent {
                Ok(sent) => break sent,
                Err(held) => held.pass().await,
            }
            if seat.is_gone() {
                after_wait(self.hub.failure_after()).await;
                return Err(self.no_answer("the node is gone"));
            }
        };
        if let (Some(tamper), Ok(body)) = (sent.tamper, &mut answer) {
            *body = tamper.answer(self.to, self.from, self.header.service, std::mem::take(body));
        }
        after_wait(sent.delay).await;
        if breaks {
            self.hub.state.lock().tally.broken += 1;
            after_wait(self.hub.failure_after()).await;
            return Err(self.no_answer("the connection was lost"));
        }
        let (cut, observer) = self.hub.state.lock().answer_arrives(self.to, self.from);
        if cut {
            after_wait(self.hub.failure_after()).await;
            return Err(self.no_answer("the connection timed out"));
        }
        loop {
            let held = self.hub.state.lock().held_by(self.from);
            match held {
                Some(gate) => gate.passed().await,
                None => break,
            }
        }
        if self.own.is_gone() {
            return Err(self.no_answer("this endpoint is closed"));
        }
        if let (Some(observer), Ok(body)) = (observer, &answer) {
            observer(&Passage {
                from: self.to,
                to: self.from,
                service: self.header.service,
                body: body.clone(),
                answer: true,
            });
        }
        Ok(answer)
    }

    fn check_len(&self, len: usize) -> Result<(), LinkError> {
        if len > CALL_BYTES_MAX {
            return Err(LinkError::TooLarge {
                node: self.to,
                len,
                max: CALL_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn unreachable(&self, reason: &str) -> LinkError {
        LinkError::Unreachable {
            node: self.to,
            reason: reason.to_owned(),
        }
    }

    fn no_answer(&self, reason: &str) -> LinkError {
        LinkError::NoAnswer {
            node: self.to,
            reason: reason.to_owned(),
        }
    }

    fn refused(&self, reason: String) -> LinkError {
        LinkError::Refused {
            node: self.to,
            reason,
        }
    }
}

impl Admitted {
    /// Has the handler answer a call.
    fn carry_out(self, trip: &Trip, body: Bytes) -> impl Future<Output = Carried> + Send + use<> {
        let Self {
            handler,
            seat,
            observer,
        } = self;
        let (from, to, service) = (trip.from, trip.to, trip.header.service);
        async move {
            let work = || {
                if let Some(observer) = observer {
                    observer(&Passage {
                        from,
                        to,
                        service,
                        body: body.clone(),
                        answer: false,
                    });
                }
                handler.call(from, service, body)
            };
            let answer = seat.carry_out(work).await?;
            Some((seat, answer))
        }
    }
}

async fn after_wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
