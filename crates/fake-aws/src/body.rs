//! Bodies as they go over the wire: a block on its way in, an answer on its way out.

use crate::line::Line;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use sha2::{Digest, Sha256};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The most that is read of a request's body: a block and a little more. What is longer is wrong in
/// any case, and the connection is closed on it.
const MAX_BODY: usize = 1 << 20;

/// Pieces of a slow answer.
const PIECES: usize = 16;

/// A request's body after it was read.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: u64,
    pub(crate) digest: [u8; 32],
    /// Empty if it was not to be kept.
    pub(crate) data: Vec<u8>,
    /// It was longer than any request may be; the rest was not read.
    pub(crate) too_long: bool,
}

/// What to do with the bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Digest,
    All,
}

/// Reads a request's body, as it comes through the line, hashing it while it is in the cache.
pub(crate) async fn receive(
    body: &mut Incoming,
    wanted: Wanted,
    line: &Line,
    bytes_per_second: u64,
) -> Result<Received, hyper::Error> {
    let expected = usize::try_from(body.size_hint().lower())
        .unwrap_or(0)
        .min(MAX_BODY);
    let mut hash = Sha256::new();
    let mut data = Vec::new();
    let mut length = 0;
    let mut too_long = false;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            // Trailers.
            continue;
        };
        length += chunk.len();
        if length > MAX_BODY {
            too_long = true;
            break;
        }
        line.pass(chunk.len(), bytes_per_second).await;
        if wanted != Wanted::Nothing {
            hash.update(&chunk);
        }
        if wanted == Wanted::All {
            if data.is_empty() {
                data.reserve_exact(expected);
            }
            data.extend_from_slice(&chunk);
        }
    }
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Received {
        length,
        digest: hash.finalize().into(),
        data,
        too_long,
    })
}

/// An answer's body: whole, in slow pieces, or broken off in its midst.
#[derive(Debug)]
pub(crate) struct Answer {
    rest: Bytes,
    piece: usize,
    pause: Duration,
    until: Option<Pin<Box<Sleep>>>,
    /// Bytes at which the connection is reset.
    breaks_at: Option<usize>,
}

impl Answer {
    pub(crate) fn whole(body: Bytes) -> Self {
        let piece = body.len().max(1);
        Answer {
            rest: body,
            piece,
            pause: Duration::ZERO,
            until: None,
            breaks_at: None,
        }
    }

    /// The body in pieces that take so long together.
    pub(crate) fn slow(mut self, time: Duration) -> Self {
        self.piece = self.rest.len().div_ceil(PIECES).max(1);
        self.pause = time / 16;
        self
    }

    /// The body's first half, then the connection's end.
    pub(crate) fn broken(mut self) -> Self {
        let half = self.rest.len() / 2;
        self.breaks_at = Some(half);
        self.piece = self.piece.min(half.max(1));
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Some(until) = &mut this.until {
            std::task::ready!(until.as_mut().poll(context));
            this.until = None;
        }
        if this.breaks_at == Some(0) {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let mut length = this.piece.min(this.rest.len());
        if let Some(left) = &mut this.breaks_at {
            length = length.min(*left);
            *left -= length;
        }
        let piece = this.rest.split_to(length);
        let more = !this.rest.is_empty();
        if more && (!this.pause.is_zero() || this.breaks_at == Some(0)) {
            // Also before breaking off, so that the first half gets out.
            let pause = this.pause.max(Duration::from_millis(5));
            this.until = Some(Box::pin(sleep_until(Instant::now() + pause)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
