//! Large blobs between stations: verified ranges of iroh-blobs over our own streams.
