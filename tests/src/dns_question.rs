//! One question to a DNS server, by hand (RFC 1035 §4).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::within;

const TXT: u16 = 16;

/// The values of the TXT records of a name. An answer that cannot be read fails the test.
pub(crate) async fn txt(server: SocketAddr, name: &str) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name), server).await.unwrap();
    let mut answer = [0; 4096];
    let received = within("DNS answers", Duration::from_secs(5), socket.recv(&mut answer));
    let length = received.await.unwrap();
    values(&answer[..length]).unwrap_or_else(|| panic!("no DNS message: {:?}", &answer[..length]))
}

fn question(name: &str) -> Vec<u8> {
    // An identifier, recursion desired, one question.
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&TXT.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    message
}

fn values(message: &[u8]) -> Option<Vec<String>> {
    let answers = number(message, 6)?;
    let mut position = after_name(message, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..answers {
        position = after_name(message, position)?;
        let (kind, length) = (number(message, position)?, number(message, position + 8)?);
        let data = message.get(position + 10..position + 10 + usize::from(length))?;
        if kind == TXT {
            found.push(strings(data)?);
        }
        position += 10 + usize::from(length);
    }
    Some(found)
}

/// The character strings of one record, put together.
fn strings(mut data: &[u8]) -> Option<String> {
    let mut whole = String::new();
    while let Some((length, rest)) = data.split_first() {
        whole.push_str(std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?);
        data = rest.get(usize::from(*length)..)?;
    }
    Some(whole)
}

fn number(message: &[u8], position: usize) -> Option<u16> {
    let octets = message.get(position..position + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

fn after_name(message: &[u8], mut position: usize) -> Option<usize> {
    loop {
        match *message.get(position)? {
            0 => return Some(position + 1),
            // RFC 1035 §4.1.4: a pointer ends the name.
            length if length >= 0xc0 => return Some(position + 2),
            length => position += 1 + usize::from(length),
        }
    }
}
