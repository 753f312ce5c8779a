/** A block of device memory. `address` is 64-byte aligned and means something to its own backend only. */
export interface Allocation {
  readonly address: number;
  readonly bytes: number;
}
