//! An in-memory Firestore that speaks `google.firestore.v1` over gRPC.
