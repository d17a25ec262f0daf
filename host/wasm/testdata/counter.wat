;; Counts its calls in a global and acks with the count as one digit. It traps
;; on a body that begins with "t", exits on "x", grows its memory to the end on
;; "m", returns a verdict that is none on "v" and says accept without evidence
;; on "a". Otherwise it says ignore with the token "key" as evidence.
(module
  (import "postern1" "read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "ack" (func $ack (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "token" (func $token (param i32 i32) (result i32)))
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "key")
  (data (i32.const 16) "counter.notified")
  (global $count (mut i32) (i32.const 48))
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store8 (i32.const 64) (global.get $count))
    (drop (call $ack (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 1)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 1)))
    (if (i32.eq (i32.load8_u (i32.const 128)) (i32.const 116)) (then (unreachable)))
    (if (i32.eq (i32.load8_u (i32.const 128)) (i32.const 120)) (then (call $exit (i32.const 3))))
    (if (i32.eq (i32.load8_u (i32.const 128)) (i32.const 118)) (then (return (i32.const 9))))
    (if (i32.eq (i32.load8_u (i32.const 128)) (i32.const 109))
      (then
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (unreachable)))
    (if (i32.eq (i32.load8_u (i32.const 128)) (i32.const 97))
      (then
        (drop (call $event (i32.const -1)))
        (drop (call $set (i32.const 1) (i32.const 16) (i32.const 16)))
        (return (i32.const 1))))
    (drop (call $token (i32.const 0) (i32.const 3)))
    (i32.const 2)))
