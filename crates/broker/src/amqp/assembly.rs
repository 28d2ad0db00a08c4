//! In: frames of one channel. Out: the deliveries that they make, of which only those keep their body that
//! cannot be read. Pure.

use bytes::{Bytes, BytesMut};

use super::AmqpError;
use super::connection::lost;
use super::frames::{self, ContentHeader, Deliver, Frame};
use super::raw::is_readable;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The exchange's name or the routing key.
    RoutingKey,
    /// A property, or the name of a header.
    Properties,
    /// Its content header does not fit the frame size that was agreed on.
    LargerThanFrame,
}

/// Puts the deliveries of one channel together.
#[derive(Default)]
pub(super) struct Assembly {
    under_way: Option<UnderWay>,
}

/// A whole delivery.
pub(super) struct Assembled {
    pub deliver: Deliver,
    /// Why it cannot be read, its properties as bytes and its body; nothing if it can be.
    pub unreadable: Option<(Problem, Bytes, Bytes)>,
}

/// A delivery of which some frames have arrived.
struct UnderWay {
    deliver: Deliver,
    problem: Option<Problem>,
    header: Option<ContentHeader>,
    received_bytes: u64,
    /// Filled only if there is a problem.
    body: BytesMut,
}

impl Assembly {
    /// Whether the next frame begins a delivery.
    pub fn is_between_deliveries(&self) -> bool {
        self.under_way.is_none()
    }

    /// Takes the next frame of a delivery, and gives that once it is whole.
    ///
    /// Errors: the frame is none that can come here.
    pub fn take(
        &mut self,
        frame: &Frame,
        frame_max_bytes: usize,
    ) -> Result<Option<Assembled>, AmqpError> {
        match frame.kind() {
            frames::METHOD => self.begin(frame)?,
            frames::HEADER => self.header(frame, frame_max_bytes)?,
            frames::BODY => self.body(frame),
            _ => {}
        }
        Ok(self.complete())
    }

    fn begin(&mut self, frame: &Frame) -> Result<(), AmqpError> {
        let deliver = Deliver::read(&frame.payload()).ok_or_else(out_of_step)?;
        let problem = (!is_readable(frame)).then_some(Problem::RoutingKey);
        let body = BytesMut::new();
        self.under_way = Some(UnderWay { deliver, problem, header: None, received_bytes: 0, body });
        Ok(())
    }

    fn header(&mut self, frame: &Frame, frame_max_bytes: usize) -> Result<(), AmqpError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        under_way.header = Some(ContentHeader::read(&frame.payload()).ok_or_else(out_of_step)?);
        let problem = if frame.bytes().len() > frame_max_bytes {
            Some(Problem::LargerThanFrame)
        } else {
            (!is_readable(frame)).then_some(Problem::Properties)
        };
        under_way.problem = under_way.problem.or(problem);
        Ok(())
    }

    fn body(&mut self, frame: &Frame) {
        let Some(under_way) = &mut self.under_way else { return };
        let part = frame.payload();
        under_way.received_bytes += part.len() as u64;
        if under_way.problem.is_some() {
            under_way.body.extend_from_slice(&part);
        }
    }

    fn complete(&mut self) -> Option<Assembled> {
        let UnderWay { deliver, problem, header, body, .. } =
            self.under_way.take_if(|delivery| delivery.is_whole())?;
        let unreadable = problem.zip(header);
        let unreadable =
            unreadable.map(|(problem, header)| (problem, header.properties, body.freeze()));
        Some(Assembled { deliver, unreadable })
    }
}

impl UnderWay {
    fn is_whole(&self) -> bool {
        self.header.as_ref().is_some_and(|header| self.received_bytes >= header.body_bytes)
    }
}

/// For a frame that cannot come here.
pub(super) fn out_of_step() -> AmqpError {
    lost("the broker's frames are out of step")
}
