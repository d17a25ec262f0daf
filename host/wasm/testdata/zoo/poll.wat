;; Waits 584 years, and again, so that its clock turns over. It answers with its
;; clock before and after the first wait.
;; Attacks: a wait takes no time of the host's.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 256)))
    (i64.store (i32.const 1048) (i64.const -1))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 2080)))
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 264)))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 2080)))
    (call $answer (i32.const 256) (i32.const 16))))
