;; Looks, without reading it, for its body where an earlier call's read put one:
;; asks read for no bytes, and answers with the eight that lie there.
;; Attacks: nothing of one call is there in the next.
(module
  (import "postern1" "read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "ack" (func $ack (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "token" (func $token (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "key")
  (data (i32.const 16) "........")
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (drop (call $token (i32.const 0) (i32.const 3)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 0)))
    (drop (call $ack (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 8)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 8)))
    (i32.const 2)))
