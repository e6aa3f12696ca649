// SPDX-License-Identifier: Apache-2.0
//! One channel: what its methods mean as far as that is the channel's own affair, and what is asked of the kernel for the rest.
//!
//! Order. Methods act in the order in which they came. One that has an answer holds back what follows it on its channel until it is
//! answered (its client waits for that anyhow); publishes, acknowledgements and methods with `nowait` hold nothing back. So a channel
//! has at most one answer outstanding, and answers cannot overtake each other.
//!
//! ```text
//! open --channel.close--> releasing --released--> (close-ok sent, gone)
//!   \--a soft error-----> releasing --released--> closing --close-ok--> (gone)
//! ```
//! While releasing, the kernel takes back what the channel held, so that whoever sees the answer sees that done. From then on nothing
//! that comes on the channel counts but its close.
//!
//! Must not know: other channels, frames.

use super::confirms::{Confirms, Outcome};
use super::content::Assembly;
use super::output::Output;
use super::prefetch::Prefetch;
use super::publish_checks;
use super::transaction::{Settled, Transaction};
use super::unacked::Unacked;
use super::{ChannelKey, Content, Delivered, Delivery, Publish, PublishTicket, Request, Settlement};
use crate::Settings;
use crate::errors::Refusal;
use crate::random::Random;
use crate::wire::methods::{
    AccessRequestOk, BasicCancel, BasicCancelOk, BasicConsume, BasicDeliver, BasicGetEmpty, BasicGetOk, BasicPublish,
    BasicQosOk, BasicReturn, ChannelClose, ChannelCloseOk, ChannelFlowOk, ConfirmSelectOk, TxRollbackOk, TxSelectOk,
};
use crate::wire::{Method, MethodId, ShortString};
use std::collections::{BTreeMap, VecDeque};

/// What a channel works with that is its connection's.
pub struct Cx<'a> {
    pub settings: &'a Settings,
    pub user: &'a ShortString,
    pub frame_max: u32,
    /// The client wants to hear of consumers that are cancelled.
    pub cancel_notify: bool,
    pub output: &'a mut Output,
    pub requests: &'a mut VecDeque<Request>,
    pub random: &'a mut Random,
    /// Of publishes that the kernel has not answered.
    pub inflight_bytes: &'a mut usize,
    /// Of transactions that are not committed.
    pub transaction_bytes: &'a mut u64,
}

impl Cx<'_> {
    /// What a transaction held is in memory no more.
    fn forget_transaction(&mut self, bytes: u64) {
        *self.transaction_bytes = self.transaction_bytes.saturating_sub(bytes);
    }
}

/// A refusal, and the method that it is about.
#[derive(Debug)]
pub struct Failure {
    pub refusal: Refusal,
    pub method: MethodId,
}

/// Something that came and waits for its turn.
#[derive(Debug)]
pub enum Work {
    Method(Method),
    Publish(BasicPublish, Content),
}

impl Work {
    fn bytes(&self) -> usize {
        size_of::<Work>()
            + match self {
                Work::Method(_) => 0,
                Work::Publish(_, content) => content.bytes(),
            }
    }
}

#[derive(Debug, PartialEq)]
pub enum State {
    Open,
    /// With the close that is to be sent; `None`: the client's own close is to be answered.
    Releasing(Option<ChannelClose>),
    /// A close was sent.
    Closing,
}

#[derive(Debug)]
enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Transaction),
}

#[derive(Debug)]
struct Consumer {
    tag: ShortString,
    no_ack: bool,
}

/// What an answer is outstanding to.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    /// `basic.get` without acknowledgement.
    no_ack: bool,
    /// What a commit under way is counted for.
    transaction_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Channel {
    key: ChannelKey,
    state: State,
    pub assembly: Assembly,
    mode: Mode,
    unacked: Unacked<Delivered>,
    prefetch: Prefetch,
    consumers: BTreeMap<u64, Consumer>,
    consumer_tags: BTreeMap<ShortString, u64>,
    consumer_count: u64,
    pending: Option<Pending>,
    /// Methods with `nowait` that the kernel is not done with.
    silent_count: usize,
    held: VecDeque<Work>,
    held_bytes: usize,
}

impl Channel {
    pub fn new(key: ChannelKey) -> Channel {
        Channel {
            key,
            state: State::Open,
            assembly: Assembly::default(),
            mode: Mode::Plain,
            unacked: Unacked::default(),
            prefetch: Prefetch::default(),
            consumers: BTreeMap::new(),
            consumer_tags: BTreeMap::new(),
            consumer_count: 0,
            pending: None,
            silent_count: 0,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    pub fn key(&self) -> ChannelKey {
        self.key
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// What waits for its turn, in memory.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Methods with `nowait` that the kernel is not done with.
    pub fn silent_count(&self) -> usize {
        self.silent_count
    }

    /// Takes what came, or keeps it until its turn.
    ///
    /// # Errors
    /// [`Failure`]: it is refused, which ends the channel at least.
    pub fn take(&mut self, cx: &mut Cx<'_>, work: Work) -> Result<(), Failure> {
        if self.pending.is_some() {
            self.held_bytes += work.bytes();
            self.held.push_back(work);
            return Ok(());
        }
        self.act(cx, work)
    }

    /// Goes on with what was kept, once nothing is outstanding.
    ///
    /// # Errors
    /// As [`Channel::take`].
    pub fn advance(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        while self.is_open() && self.pending.is_none() {
            let Some(work) = self.held.pop_front() else { break };
            self.held_bytes -= work.bytes();
            self.act(cx, work)?;
        }
        Ok(())
    }

    fn act(&mut self, cx: &mut Cx<'_>, work: Work) -> Result<(), Failure> {
        let method = match &work {
            Work::Method(method) => method.id(),
            Work::Publish(..) => BasicPublish::ID,
        };
        let done = match work {
            Work::Method(method) => self.method(cx, method),
            Work::Publish(publish, content) => self.publish(cx, publish, content),
        };
        done.map_err(|refusal| Failure { refusal, method })
    }

    fn method(&mut self, cx: &mut Cx<'_>, method: Method) -> Result<(), Refusal> {
        match method {
            Method::ChannelOpen(_) => return Err(Refusal::ChannelOpenTwice),
            Method::ChannelClose(_) => self.release(cx, None),
            Method::ChannelFlow(flow) if flow.active => self.say(cx, ChannelFlowOk { active: true }),
            // RabbitMQ slows publishers down by other means, and does not stop deliveries for a client that asks.
            Method::ChannelFlow(_) => return Err(Refusal::FlowOff),
            // Realms are gone since 0-9-1; old clients ask all the same, and go on with any ticket.
            Method::AccessRequest(_) => self.say(cx, AccessRequestOk { ticket: 1 }),
            Method::BasicQos(qos) => {
                if qos.prefetch_size != 0 {
                    return Err(Refusal::PrefetchSize(qos.prefetch_size));
                }
                self.prefetch.set(qos.prefetch_count, qos.global);
                self.say(cx, BasicQosOk {});
            }
            Method::BasicConsume(consume) => self.consume(cx, consume)?,
            Method::BasicCancel(cancel) => self.cancel(cx, cancel),
            Method::BasicAck(ack) => self.settle(cx, Settlement::Ack, ack.delivery_tag, ack.multiple)?,
            Method::BasicReject(reject) => {
                self.settle(cx, Settlement::rejected(reject.requeue), reject.delivery_tag, false)?;
            }
            Method::BasicNack(nack) => {
                self.settle(cx, Settlement::rejected(nack.requeue), nack.delivery_tag, nack.multiple)?;
            }
            Method::BasicRecover(recover) if recover.requeue => {
                let deliveries = self.give_back_all();
                cx.requests.push_back(Request::Recover { channel: self.key, deliveries });
                self.wait(true);
            }
            Method::BasicRecoverAsync(recover) if recover.requeue => {
                let deliveries = self.give_back_all();
                self.ask_to_settle(cx, Settlement::Requeue, deliveries);
            }
            Method::BasicRecover(_) | Method::BasicRecoverAsync(_) => return Err(Refusal::RecoverWithoutRequeue),
            Method::ConfirmSelect(select) => {
                match self.mode {
                    Mode::Transaction(_) => return Err(Refusal::TxToConfirm),
                    Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
                    Mode::Confirm(_) => {}
                }
                if !select.nowait {
                    self.say(cx, ConfirmSelectOk {});
                }
            }
            Method::TxSelect(_) => {
                match self.mode {
                    Mode::Confirm(_) => return Err(Refusal::ConfirmToTx),
                    Mode::Plain => self.mode = Mode::Transaction(Transaction::default()),
                    Mode::Transaction(_) => {}
                }
                self.say(cx, TxSelectOk {});
            }
            Method::TxCommit(_) => {
                let Mode::Transaction(transaction) = &mut self.mode else { return Err(Refusal::NotTransactional) };
                let (publishes, settled, transaction_bytes) = transaction.take();
                settled.iter().for_each(|settled| self.give_back(&settled.deliveries));
                cx.requests.push_back(Request::Commit { channel: self.key, publishes, settled });
                self.pending = Some(Pending { transaction_bytes, ..Pending::default() });
            }
            Method::TxRollback(_) => {
                let Mode::Transaction(transaction) = &mut self.mode else { return Err(Refusal::NotTransactional) };
                let (_, settled, bytes) = transaction.take();
                cx.forget_transaction(bytes);
                for settled in settled {
                    self.unacked.put_back(settled.deliveries);
                }
                self.say(cx, TxRollbackOk {});
            }
            Method::BasicGet(get) => {
                let (no_ack, unacked_max) = (get.no_ack, cx.settings.unacked_max);
                if !no_ack && self.unacked.count() >= unacked_max {
                    return Err(Refusal::TooManyUnacked { unacked_max });
                }
                cx.requests.push_back(Request::Method { channel: self.key, method: get.into() });
                self.pending = Some(Pending { no_ack, ..Pending::default() });
            }
            method => {
                let Some(answered) = is_answered(&method) else { return Err(Refusal::NotForServers) };
                cx.requests.push_back(Request::Method { channel: self.key, method });
                self.wait(answered);
            }
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Cx<'_>, method: BasicPublish, content: Content) -> Result<(), Refusal> {
        let properties = publish_checks::check(&method, content.properties.clone(), cx.user)?;
        let confirm = match &mut self.mode {
            Mode::Confirm(confirms) => Some(confirms.publish()),
            Mode::Plain | Mode::Transaction(_) => None,
        };
        let ticket = PublishTicket { channel: self.key, confirm, bytes: content.bytes() };
        let publish = Publish { ticket, method, properties, content };
        if let Mode::Transaction(transaction) = &mut self.mode {
            transaction.publish(publish, cx.transaction_bytes);
            return bounded(*cx.transaction_bytes, cx.settings);
        }
        *cx.inflight_bytes += ticket.bytes;
        cx.requests.push_back(Request::Publish(Box::new(publish)));
        Ok(())
    }

    fn consume(&mut self, cx: &mut Cx<'_>, mut consume: BasicConsume) -> Result<(), Refusal> {
        if consume.consumer_tag.is_empty() {
            consume.consumer_tag = ShortString::from(cx.random.name("amq.ctag-").as_str());
        }
        let tag = consume.consumer_tag.clone();
        if self.consumer_tags.contains_key(&tag) {
            return Err(Refusal::ConsumerTagInUse { tag });
        }
        if self.consumers.len() >= cx.settings.consumers_max {
            return Err(Refusal::TooManyConsumers { consumers_max: cx.settings.consumers_max });
        }
        self.consumer_count += 1;
        let consumer = self.consumer_count;
        self.consumer_tags.insert(tag.clone(), consumer);
        self.consumers.insert(consumer, Consumer { tag, no_ack: consume.no_ack });
        if !consume.no_ack {
            self.prefetch.add(consumer);
        }
        let answered = !consume.nowait;
        cx.requests.push_back(Request::Consume { channel: self.key, consumer, method: consume });
        self.wait(answered);
        Ok(())
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, cancel: BasicCancel) {
        let answered = !cancel.nowait;
        let Some(consumer) = self.forget_consumer(&cancel.consumer_tag) else {
            if answered {
                self.say(cx, BasicCancelOk { consumer_tag: cancel.consumer_tag });
            }
            return;
        };
        cx.requests.push_back(Request::Cancel { channel: self.key, consumer, tag: cancel.consumer_tag });
        self.wait(answered);
    }

    fn forget_consumer(&mut self, tag: &ShortString) -> Option<u64> {
        let consumer = self.consumer_tags.remove(tag)?;
        self.consumers.remove(&consumer);
        self.prefetch.remove(consumer);
        Some(consumer)
    }

    fn settle(&mut self, cx: &mut Cx<'_>, settlement: Settlement, tag: u64, multiple: bool) -> Result<(), Refusal> {
        let deliveries = self.unacked.settle(tag, multiple).map_err(|unknown| Refusal::DeliveryTag(unknown.0))?;
        if let Mode::Transaction(transaction) = &mut self.mode {
            transaction.settle(Settled { settlement, deliveries }, cx.transaction_bytes);
            return bounded(*cx.transaction_bytes, cx.settings);
        }
        self.give_back(&deliveries);
        self.ask_to_settle(cx, settlement, deliveries);
        Ok(())
    }

    fn ask_to_settle(&self, cx: &mut Cx<'_>, settlement: Settlement, deliveries: Vec<(u64, Delivered)>) {
        if !deliveries.is_empty() {
            cx.requests.push_back(Request::Settle { channel: self.key, settled: Settled { settlement, deliveries } });
        }
    }

    fn give_back(&mut self, deliveries: &[(u64, Delivered)]) {
        for consumer in deliveries.iter().filter_map(|(_, delivered)| delivered.consumer) {
            self.prefetch.give_back(consumer);
        }
    }

    fn give_back_all(&mut self) -> Vec<(u64, Delivered)> {
        let deliveries = self.unacked.take_all();
        self.give_back(&deliveries);
        deliveries
    }

    fn say(&self, cx: &mut Cx<'_>, method: impl Into<Method>) {
        cx.output.method(self.key.number, &method.into());
    }

    /// An answer is outstanding; or, with `nowait`, one that nobody is told.
    fn wait(&mut self, is_answered: bool) {
        if is_answered {
            self.pending = Some(Pending::default());
        } else {
            self.silent_count += 1;
        }
    }

    /// A method with `nowait` is done.
    pub fn done(&mut self) {
        self.silent_count = self.silent_count.saturating_sub(1);
    }

    /// The kernel's answer to what is outstanding.
    pub fn answer(&mut self, cx: &mut Cx<'_>, method: &Method) {
        if let Some(pending) = self.pending.take() {
            cx.forget_transaction(pending.transaction_bytes);
            cx.output.method(self.key.number, method);
        }
    }

    /// The kernel's answer to `basic.get`: a message and how many are left, or nothing.
    pub fn answer_get(&mut self, cx: &mut Cx<'_>, got: Option<(Delivery, u32)>) {
        let Some(pending) = self.pending.take() else { return };
        let Some((delivery, message_count)) = got else { return self.say(cx, BasicGetEmpty {}) };
        let delivered = Delivered { consumer: None, record: delivery.record };
        let delivery_tag = if pending.no_ack { self.unacked.next_tag() } else { self.unacked.deliver(delivered) };
        let Delivery { redelivered, exchange, routing_key, content, .. } = delivery;
        let method = BasicGetOk { delivery_tag, redelivered, exchange, routing_key, message_count };
        cx.output.content(self.key.number, &method.into(), &content, cx.frame_max);
    }

    /// The kernel gave a publish back that nobody was there for: comes before what becomes of it.
    pub fn returned(&mut self, cx: &mut Cx<'_>, method: &BasicPublish, content: &Content) {
        if !self.is_open() {
            return;
        }
        let code = crate::errors::ReplyCode::NoRoute;
        let method = BasicReturn {
            reply_code: code.number(),
            reply_text: code.name().into(),
            exchange: method.exchange.clone(),
            routing_key: method.routing_key.clone(),
        };
        cx.output.content(self.key.number, &method.into(), content, cx.frame_max);
    }

    /// What became of a publish. True: there is something to tell of it.
    pub fn published(&mut self, confirm: Option<u64>, outcome: Outcome) -> bool {
        match (&mut self.mode, confirm) {
            (Mode::Confirm(confirms), Some(number)) => {
                confirms.decide(number, outcome);
                confirms.has_news()
            }
            _ => false,
        }
    }

    /// Tells the publisher.
    pub fn tell_confirms(&mut self, cx: &mut Cx<'_>) {
        let Mode::Confirm(confirms) = &mut self.mode else { return };
        if self.state != State::Open {
            return;
        }
        confirms.tell(|told| cx.output.method(self.key.number, &told.into()));
    }

    /// From the oldest publish that is undecided to the newest.
    pub fn confirm_window(&self) -> usize {
        match &self.mode {
            Mode::Confirm(confirms) => confirms.window(),
            Mode::Plain | Mode::Transaction(_) => 0,
        }
    }

    /// How many more may be delivered to a consumer now.
    pub fn room(&self, settings: &Settings, consumer: u64) -> u32 {
        if !self.is_open() || !self.consumers.contains_key(&consumer) {
            return 0;
        }
        let unacked_left = settings.unacked_max.saturating_sub(self.unacked.count());
        self.prefetch.room(consumer).min(u32::try_from(unacked_left).unwrap_or(u32::MAX))
    }

    /// Delivers, and gives the tag. `None`: there is no room, or no such consumer any more; the kernel keeps the message.
    pub fn deliver(&mut self, cx: &mut Cx<'_>, consumer: u64, delivery: Delivery) -> Option<u64> {
        if self.room(cx.settings, consumer) == 0 {
            return None;
        }
        let Consumer { tag, no_ack } = self.consumers.get(&consumer)?;
        let delivery_tag = if *no_ack {
            self.unacked.next_tag()
        } else {
            self.prefetch.take(consumer);
            self.unacked.deliver(Delivered { consumer: Some(consumer), record: delivery.record })
        };
        let Delivery { redelivered, exchange, routing_key, content, .. } = delivery;
        let method = BasicDeliver { consumer_tag: tag.clone(), delivery_tag, redelivered, exchange, routing_key };
        cx.output.content(self.key.number, &method.into(), &content, cx.frame_max);
        Some(delivery_tag)
    }

    /// The kernel cancelled a consumer: its queue is gone, say. A client hears of it if it can.
    pub fn consumer_cancelled(&mut self, cx: &mut Cx<'_>, consumer: u64) {
        let Some(tag) = self.consumers.get(&consumer).map(|consumer| consumer.tag.clone()) else { return };
        self.forget_consumer(&tag);
        if self.is_open() && cx.cancel_notify {
            self.say(cx, BasicCancel { consumer_tag: tag, nowait: true });
        }
    }

    /// Ends the channel: with a close of ours, or in answer to the client's.
    pub fn release(&mut self, cx: &mut Cx<'_>, close: Option<ChannelClose>) {
        // What was confirmed before is told before.
        self.tell_confirms(cx);
        self.state = State::Releasing(close);
        self.assembly = Assembly::default();
        if let Some(pending) = self.pending.take() {
            cx.forget_transaction(pending.transaction_bytes);
        }
        self.silent_count = 0;
        self.held.clear();
        self.held_bytes = 0;
        self.consumers.clear();
        self.consumer_tags.clear();
        let mut deliveries = std::mem::take(&mut self.unacked).take_all();
        if let Mode::Transaction(mut transaction) = std::mem::replace(&mut self.mode, Mode::Plain) {
            let (_, settled, bytes) = transaction.take();
            cx.forget_transaction(bytes);
            deliveries.extend(settled.into_iter().flat_map(|settled| settled.deliveries));
            deliveries.sort_unstable_by_key(|(tag, _)| *tag);
        }
        cx.requests.push_back(Request::ChannelGone { channel: self.key, deliveries });
    }

    /// The client closes a channel that is being closed: its close is answered.
    pub fn crossing_close(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            State::Releasing(close) => *close = None,
            State::Open | State::Closing => self.say(cx, ChannelCloseOk {}),
        }
    }

    /// The kernel has taken back what the channel held. True: the channel is gone.
    pub fn released(&mut self, cx: &mut Cx<'_>) -> bool {
        let State::Releasing(close) = std::mem::replace(&mut self.state, State::Closing) else { return false };
        match close {
            None => {
                self.say(cx, ChannelCloseOk {});
                true
            }
            Some(close) => {
                self.say(cx, close);
                false
            }
        }
    }
}

fn bounded(transaction_bytes: u64, settings: &Settings) -> Result<(), Refusal> {
    let bytes_max = settings.transaction_bytes_max;
    if transaction_bytes > bytes_max { Err(Refusal::TransactionTooLarge { bytes_max }) } else { Ok(()) }
}

/// Whether the kernel's answer to it is waited for; `None` for what no client may send on a channel.
fn is_answered(method: &Method) -> Option<bool> {
    match method {
        Method::ExchangeDeclare(declare) => Some(!declare.nowait),
        Method::ExchangeDelete(delete) => Some(!delete.nowait),
        Method::ExchangeBind(bind) => Some(!bind.nowait),
        Method::ExchangeUnbind(unbind) => Some(!unbind.nowait),
        Method::QueueDeclare(declare) => Some(!declare.nowait),
        Method::QueueBind(bind) => Some(!bind.nowait),
        Method::QueuePurge(purge) => Some(!purge.nowait),
        Method::QueueDelete(delete) => Some(!delete.nowait),
        Method::QueueUnbind(_) => Some(true),
        _ => None,
    }
}
