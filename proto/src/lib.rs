//! The `.proto` files of h2gate and the types made of them.
//!
//! The files themselves are in `proto/proto/`, for clients in other languages.

/// The types, client and server of `routeguide/route_guide.proto`: the service that the demo
/// and the end-to-end tests run behind the gateway.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated code; the .proto file documents it"
)]
pub mod routeguide {
    tonic::include_proto!("routeguide");
}

mod json;

/// The types, client and server of `h2gate/certs/v1/certificates.proto`: what an operator sees of the
/// certificates, and asks of them. serde serializes them by the JSON mapping of proto3, with the names of the file.
pub mod certs {
    /// Version 1.
    #[allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::use_self,
        reason = "generated code; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("h2gate.certs.v1");
    }
}

/// All files of this crate as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The text of `routeguide/route_guide.proto`, for programs that hand it to a person.
pub const ROUTE_GUIDE_PROTO: &str = include_str!("../proto/routeguide/route_guide.proto");

#[cfg(test)]
mod tests;
