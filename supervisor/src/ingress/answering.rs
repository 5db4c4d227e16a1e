//! A request of a caller in this process whose answer is streamed: the text that its model writes, then the reply.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use greenroom_actors::execution::{AnswerEvent, DeltaSink};
use greenroom_client::{Progress, ProgressStream};
use greenroom_protocol::Reply;
use tokio::sync::mpsc;

use crate::pipeline::Served;

/// Events of an answer that wait to be read. Beyond them, the model waits for its reader.
const TEXT_EVENTS_MAX: usize = 256;

/// The progress of a request, which `serve` sends through the pipeline with this sink for the text.
pub(super) fn stream_progress<F>(serve: impl FnOnce(DeltaSink) -> F) -> ProgressStream
where
    F: Future<Output = Served> + Send + 'static,
{
    let (sink, events) = mpsc::channel(TEXT_EVENTS_MAX);
    let answering = Answering { serving: Some(serve(sink).boxed()), events, is_open: true, reply: None };
    let items = stream::unfold(answering, |mut answering| async move {
        let item = answering.next().await?;
        Some((Ok(item), answering))
    });
    items.boxed()
}

/// A request whose answer is streamed.
struct Answering {
    serving: Option<BoxFuture<'static, Served>>,
    events: mpsc::Receiver<AnswerEvent>,
    is_open: bool,
    reply: Option<Box<Reply>>,
}

/// What happens first.
enum Happened {
    Event(Option<AnswerEvent>),
    Served(Box<Served>),
}

impl Answering {
    /// The next item; the reply is the last one.
    async fn next(&mut self) -> Option<Progress> {
        while let Some(serving) = &mut self.serving {
            let happened = tokio::select! {
                biased;
                event = self.events.recv(), if self.is_open => Happened::Event(event),
                served = serving => Happened::Served(Box::new(served)),
            };
            match happened {
                Happened::Event(Some(event)) => return Some(progress_of(event)),
                Happened::Event(None) => self.is_open = false,
                Happened::Served(served) => {
                    self.reply = Some(Box::new(served.reply));
                    self.serving = None;
                }
            }
        }
        match self.events.try_recv() {
            Ok(event) => Some(progress_of(event)),
            Err(_) => self.reply.take().map(Progress::Reply),
        }
    }
}

fn progress_of(event: AnswerEvent) -> Progress {
    match event {
        AnswerEvent::Text(text) => Progress::Text(text),
        AnswerEvent::Restarted => Progress::Restarted,
    }
}
