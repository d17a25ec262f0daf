;; Speaks in its start function, before there is a callback: begins an event,
;; gives an answer, asks for evidence, moves its clock and writes a line.
;; Attacks: nothing said outside a call is there in one.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "respond" (func $respond (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "a line")
  (func $attack (param $left i64) (result i32)
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 256)))
    (call $answer (i32.const 256) (i32.const 8)))
  (func $start
    (drop (call $event (i32.const -1)))
    (drop (call $ack (i32.const 201) (i32.const 512) (i32.const 6) (i32.const 512) (i32.const 6)))
    (drop (call $respond (i32.const 201) (i32.const 512) (i32.const 6) (i32.const 512) (i32.const 6)))
    (drop (call $token (i32.const 0) (i32.const 3)))
    (i64.store (i32.const 1048) (i64.const 1000000000000))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 2080)))
    (i32.store (i32.const 600) (i32.const 512))
    (i32.store (i32.const 604) (i32.const 6))
    (drop (call $write (i32.const 2) (i32.const 600) (i32.const 1) (i32.const 608))))
  (start $start))
