//! One request from the socket to the answer: what happens to it, in which order.

use crate::action::{Action, Service, Target};
use crate::body::{Answer, Received, Wanted, receive};
use crate::chance::{Draw, Empty, Setting};
use crate::control;
use crate::ebs::{self, Put, Success};
use crate::ec2::{self, Form};
use crate::error::Refusal;
use crate::hold::{self, Meets};
use crate::log::Entry;
use crate::sigv4;
use crate::world::World;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Takes connections until told to stop; those that are open are dropped then.
pub(crate) async fn serve(
    world: Arc<World>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: let some connections end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Only latency would suffer.
        let _ = stream.set_nodelay(true);
        let world = world.clone();
        tokio::spawn(connection(world, stream));
    }
}

/// What is read of a request at once. A block in pieces of that size is hashed while it is in the
/// cache, and in memory that is not given back to the system in between.
const BUFFER: usize = 64 << 10;

async fn connection(world: Arc<World>, stream: TcpStream) {
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket {
        stream,
        reset: reset.clone(),
    };
    let service = service_fn(move |request| {
        let (world, reset) = (world.clone(), reset.clone());
        async move {
            let answer = handle(&world, request, &reset).await;
            if answer.is_err() {
                reset.store(true, Ordering::Relaxed);
            }
            answer
        }
    });
    // A connection that ends badly concerns its client, and the log has what was answered.
    let _ = hyper::server::conn::http1::Builder::new()
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// What is done to a request besides, or instead of, answering it.
#[derive(Debug, Default)]
struct Fate {
    refusal: Option<Refusal>,
    fault: Option<&'static str>,
    reset_after: bool,
}

async fn handle(
    world: &World,
    request: Request<Incoming>,
    reset: &AtomicBool,
) -> Result<Response<Answer>, Reset> {
    let came = Instant::now();
    let (parts, mut body) = request.into_parts();
    if parts.uri.path().starts_with("/_control/") {
        let received = receive(&mut body, Wanted::All, &world.line, 0).await;
        let received = received.map_err(|_| Reset)?;
        return Ok(control::answer(world, &parts, &received.data));
    }
    let setting = world.switches.get();
    let rate = setting.faults.line_bytes_per_second;
    let request_id = format!("{:032x}", world.switches.random.bits());
    let is_ec2 = parts.uri.path() == "/" && parts.method == Method::POST;
    let service = if is_ec2 { Service::Ec2 } else { Service::Ebs };

    // What an EC2 request is stands in its body, which is small.
    let mut form = None;
    let mut received = None;
    let target = if is_ec2 {
        let bytes = receive(&mut body, Wanted::All, &world.line, rate).await;
        let bytes = bytes.map_err(|_| Reset)?;
        let parsed = Form::parse(&bytes.data);
        let target = Target {
            action: parsed.action,
            snapshot: parsed.snapshot(),
            index: None,
        };
        (form, received) = (Some(parsed), Some(bytes));
        target
    } else {
        Target::parse(&parts.method, parts.uri.path())
    };
    world.log.came(target.action);
    let mut entry = Entry {
        number: 0,
        at_ms: 0,
        took_us: 0,
        method: parts.method.to_string(),
        action: target.action,
        parameters: form.as_ref().map(Form::said).unwrap_or_default(),
        snapshot: target.snapshot.clone(),
        index: target.index.as_ref().and_then(|index| index.parse().ok()),
        body: 0,
        status: 0,
        error: None,
        fault: None,
    };
    // Counted when it has come, held before anything else is done with it.
    let (meets, released) = world.holds.meet(target.action);
    match meets {
        Meets::Hold { after: false } => {
            entry.fault = Some("held_before");
            world.log.answered(came, entry);
            hold::wait(released).await;
            return Err(Reset);
        }
        Meets::Reset { after: false } => {
            entry.fault = Some("reset_before");
            world.log.answered(came, entry);
            return Err(Reset);
        }
        _ => {}
    }
    if setting.draw(Draw::ResetBefore, target.action) {
        entry.fault = Some("reset_before");
        world.log.answered(came, entry);
        return Err(Reset);
    }
    let fate = fate(world, &setting, service, &target);

    // The headers of a put are looked at before its block is read; the block is read in any case,
    // since a client that is still writing would not see the answer.
    let is_put = target.action == Action::PutSnapshotBlock;
    let mut put = None;
    if is_put && fate.refusal.is_none() {
        put = Some(Put::check(world, &setting, &target, &parts.headers));
    }
    let received = match received {
        Some(received) => received,
        None => {
            let wanted = match (is_put, &put) {
                (true, None) => Wanted::Nothing,
                (true, Some(Ok(_))) if world.config.keep_data => Wanted::All,
                (true, Some(_)) => Wanted::Digest,
                (false, _) => Wanted::All,
            };
            match receive(&mut body, wanted, &world.line, rate).await {
                Ok(received) => received,
                Err(_) => {
                    // The client has gone away, or speaks no HTTP.
                    entry.fault = Some("client_went_away");
                    world.log.answered(came, entry);
                    return Err(Reset);
                }
            }
        }
    };
    entry.body = received.length;
    if let Some(Ok(put)) = &mut put {
        put.release();
    }
    wait(world, &setting).await;

    let too_long = received.too_long;
    let mut outcome = match fate.refusal {
        Some(refusal) => Err(refusal),
        None => act(
            world,
            &setting,
            &parts,
            &target,
            form.as_ref(),
            put,
            received,
            &request_id,
        ),
    };
    if too_long && outcome.is_ok() {
        outcome = Err(Refusal::validation(
            "INVALID_PARAMETER_VALUE",
            "the request is too long",
        ));
    }
    if let Ok((_, Some(id))) = &outcome {
        entry.snapshot = Some(id.clone());
    }
    entry.fault = fate.fault;
    let held = matches!(meets, Meets::Hold { .. });
    if fate.reset_after || held || meets == (Meets::Reset { after: true }) {
        entry.fault = Some(if held { "held_after" } else { "reset_after" });
        entry.error = outcome.err().map(|refusal| refusal.code.to_owned());
        world.log.answered(came, entry);
        if held {
            world.holds.took_effect(target.action);
            hold::wait(released).await;
        }
        return Err(Reset);
    }
    let response = match outcome {
        Ok((success, _)) => {
            let breaks = setting.draw(Draw::ResetInBody, target.action);
            let slow = setting.draw(Draw::SlowBody, target.action);
            entry.fault = match (breaks, slow) {
                (true, _) => Some("reset_in_body"),
                (false, true) => Some("slow_body"),
                _ => entry.fault,
            };
            answer(success, &request_id, |mut body| {
                if slow {
                    body = body.slow(Duration::from_millis(setting.faults.slow_body_ms));
                }
                if breaks {
                    // The socket is dropped once the body has failed.
                    reset.store(true, Ordering::Relaxed);
                    body = body.broken();
                }
                body
            })
        }
        Err(refusal) => {
            entry.error = Some(refusal.code.to_owned());
            refuse(&refusal, service, &request_id, too_long)
        }
    };
    entry.status = response.status().as_u16();
    world.log.answered(came, entry);
    Ok(response)
}

/// Draws what will happen to a request whatever it says.
fn fate(world: &World, setting: &Setting, service: Service, target: &Target) -> Fate {
    let mut fate = Fate::default();
    let action = target.action;
    let limits = &setting.faults.limits;
    match world
        .buckets
        .take(limits, action, target.snapshot.as_deref())
    {
        Ok(()) => {}
        Err(Empty::Account) => fate.refusal = Some(Refusal::account_throttled(service)),
        Err(Empty::Snapshot) => {
            fate.refusal = Some(Refusal::request_throttled("RESOURCE_LEVEL_THROTTLE"));
        }
    }
    if fate.refusal.is_none() && setting.draw(Draw::Throttle, action) {
        fate.fault = Some("throttle");
        // Each of the spellings that a client has to know.
        fate.refusal = Some(match (service, world.switches.random.below(3)) {
            (Service::Ec2, _) | (Service::Ebs, 0) => Refusal::account_throttled(service),
            (Service::Ebs, 1) => Refusal::request_throttled("ACCOUNT_THROTTLED"),
            (Service::Ebs, _) => Refusal::request_throttled("DEPENDENCY_REQUEST_THROTTLED"),
        });
    }
    if fate.refusal.is_none() && setting.draw(Draw::ServerError, action) {
        fate.fault = Some("server_error");
        fate.refusal = Some(Refusal::internal(service));
    }
    fate.reset_after = fate.refusal.is_none() && setting.draw(Draw::ResetAfter, action);
    if fate.refusal.is_none() && setting.draw(Draw::ExpiredSignature, action) {
        fate.fault = Some("expired_signature");
        fate.refusal = Some(Refusal::expired_signature(service));
    }
    if fate.refusal.is_none() && setting.faults.expired_credentials {
        fate.refusal = Some(Refusal::expired_credentials(service));
    } else if fate.refusal.is_none() && setting.faults.denied.contains(&action) {
        fate.refusal = Some(Refusal::denied(service, action, &world.config.account));
    }
    fate
}

async fn wait(world: &World, setting: &Setting) {
    let faults = &setting.faults;
    if faults.latency_ms != 0 || faults.latency_jitter_ms != 0 {
        let jitter = world
            .switches
            .random
            .below(faults.latency_jitter_ms.saturating_add(1));
        tokio::time::sleep(Duration::from_millis(
            faults.latency_ms.saturating_add(jitter),
        ))
        .await;
    }
}

/// Does what the request asks; also the snapshot that it started.
#[expect(clippy::too_many_arguments, reason = "the parts of one request")]
fn act(
    world: &World,
    setting: &Setting,
    parts: &Parts,
    target: &Target,
    form: Option<&Form>,
    put: Option<Result<Put, Refusal>>,
    received: Received,
    request_id: &str,
) -> Result<(Success, Option<String>), Refusal> {
    let service = if form.is_some() {
        Service::Ec2
    } else {
        Service::Ebs
    };
    sigv4::check(
        &world.config,
        parts,
        &received.digest,
        service,
        target.action,
    )?;
    if let Some(form) = form {
        return ec2::act(world, setting, form, request_id).map(|success| (success, None));
    }
    match (target.action, put) {
        (_, Some(put)) => {
            let put = put?;
            let data = world.config.keep_data.then(|| Bytes::from(received.data));
            put.finish(world, received.length, received.digest, data)
                .map(|success| (success, None))
        }
        (Action::StartSnapshot, None) => {
            let (success, snapshot) = ebs::start(world, setting, &received.data)?;
            Ok((success, Some(snapshot.id.clone())))
        }
        _ => ebs::act(world, setting, target, parts).map(|success| (success, None)),
    }
}

fn answer(
    success: Success,
    request_id: &str,
    shape: impl FnOnce(Answer) -> Answer,
) -> Response<Answer> {
    let mut response = Response::new(shape(Answer::whole(success.body)));
    *response.status_mut() = success.status;
    let headers = response.headers_mut();
    for (name, value) in success.headers {
        // Ours are base64 and numbers; a header that cannot be is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(success.content_type));
    identify(&mut response, request_id);
    response
}

fn refuse(refusal: &Refusal, service: Service, request_id: &str, close: bool) -> Response<Answer> {
    let (body, content_type) = refusal.body(service, request_id);
    let mut response = Response::new(Answer::whole(Bytes::from(body)));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if service == Service::Ebs {
        // The model's name, and a URI that clients must cut off.
        let kind = format!(
            "{}:http://internal.amazon.com/coral/com.amazon.zeppelindataservice/",
            refusal.code
        );
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            headers.insert("x-amzn-errortype", kind);
        }
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    identify(&mut response, request_id);
    response
}

fn identify(response: &mut Response<Answer>, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
}

/// The connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by a switch")]
struct Reset;

/// A connection that can end with RST instead of FIN.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Without it the client sees the connection end in order, which it must survive too.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
