;; Does what the body says: a puppet for fuzzing. The body is a list of calls,
;; each a byte that picks the function (by its place below, modulo their number)
;; and its arguments. An argument is a byte: up to 0x7f itself, and
;;   0x80 the result of the last call     0x81 the four bytes that follow
;;   0x82 a pointer into the body: the two bytes that follow are the offset
;;   0x83 the end of the memory, less the byte that follows
;;   0x84 the eight bytes that follow     else itself less 256
;; Every argument has its upper half full of ones before it is cut to 32 bits. The
;; byte 0xff ends the list; the verdict is the argument after it.
;; Attacks: every host function, in any order, with anything.
(module
  (import "postern1" "read" (func $h0 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "method" (func $h1 (param i32 i32) (result i32)))
  (import "postern1" "target" (func $h2 (param i32 i32) (result i32)))
  (import "postern1" "url" (func $h3 (param i32 i32) (result i32)))
  (import "postern1" "query" (func $h4 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "header" (func $h5 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "header_at" (func $h6 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "setting" (func $h7 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "now" (func $h8 (result i64)))
  (import "postern1" "log" (func $h9 (param i32 i32 i32)))
  (import "postern1" "bytes" (func $h10 (param i32 i32 i32) (result i32)))
  (import "postern1" "hash" (func $h11 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "view" (func $h12 (param i32 i32) (result i32)))
  (import "postern1" "kind" (func $h13 (param i32 i32 i32) (result i32)))
  (import "postern1" "get" (func $h14 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "len" (func $h15 (param i32 i32 i32) (result i32)))
  (import "postern1" "name_at" (func $h16 (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "reason" (func $h17 (param i32 i32 i32) (result i32)))
  (import "postern1" "event_begin" (func $h18 (param i32) (result i32)))
  (import "postern1" "set" (func $h19 (param i32 i32 i32) (result i32)))
  (import "postern1" "set_i64" (func $h20 (param i32 i64) (result i32)))
  (import "postern1" "map" (func $h21 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "set_aside" (func $h22 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "ack" (func $h23 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "respond" (func $h24 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "respond_mac" (func $h25 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "token" (func $h26 (param i32 i32) (result i32)))
  (import "postern1" "signed_begin" (func $h27 (param i32 i32) (result i32)))
  (import "postern1" "signed_bytes" (func $h28 (param i32 i32 i32) (result i32)))
  (import "postern1" "signed_body" (func $h29 (param i32) (result i32)))
  (import "postern1" "signed_check" (func $h30 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "covers_body" (func $h31 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "token_text" (func $h32 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "decrypt" (func $h33 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "same" (func $h34 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "same_bytes" (func $h35 (param i32 i32) (result i32)))
  (import "postern1" "sign" (func $h36 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "encrypt" (func $h37 (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_token" (func $h38 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_header" (func $h39 (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_body" (func $h40 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $h41 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $h42 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $h43 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $h44 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $h45 (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $h46 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $h47 (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $h48 (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $h49 (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $h50 (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $h51 (param i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $h52 (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $h53 (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 2)
  (table 54 54 funcref)
  (elem (i32.const 0) $h0 $h1 $h2 $h3 $h4 $h5 $h6 $h7 $h8 $h9 $h10 $h11 $h12 $h13 $h14 $h15 $h16 $h17 $h18 $h19 $h20 $h21 $h22 $h23 $h24 $h25 $h26 $h27 $h28 $h29 $h30 $h31 $h32 $h33 $h34 $h35 $h36 $h37 $h38 $h39 $h40 $h41 $h42 $h43 $h44 $h45 $h46 $h47 $h48 $h49 $h50 $h51 $h52 $h53)
  ;; The kind of each function, by the signatures in $call.
  (data (i32.const 512) "\00\01\01\01\02\02\00\00\03\04\05\00\01\05\02\05\06\05\07\05\08\00\02\02\02\02\01\01\05\07\00\02\00\02\00\01\00\02\00\00\01\01\01\01\01\09\01\01\00\00\0a\0b\0c\00")
  (global $at (mut i32) (i32.const 4096))
  (global $last (mut i64) (i64.const 0))
  (func $byte (result i64)
    (local $b i64)
    (local.set $b (i64.load8_u (global.get $at)))
    (global.set $at (i32.add (global.get $at) (i32.const 1)))
    (local.get $b))
  (func $wide (result i64)
    (local $b i64)
    (local.set $b (i64.load (global.get $at)))
    (global.set $at (i32.add (global.get $at) (i32.const 8)))
    (local.get $b))
  (func $long (result i64)
    (local $b i64)
    (local.set $b (call $byte))
    (if (i64.lt_u (local.get $b) (i64.const 0x80)) (then (return (local.get $b))))
    (if (i64.eq (local.get $b) (i64.const 0x80)) (then (return (global.get $last))))
    (if (i64.eq (local.get $b) (i64.const 0x81))
      (then
        (global.set $at (i32.add (global.get $at) (i32.const 4)))
        (return (i64.load32_u (i32.sub (global.get $at) (i32.const 4))))))
    (if (i64.eq (local.get $b) (i64.const 0x82))
      (then
        (global.set $at (i32.add (global.get $at) (i32.const 2)))
        (return (i64.add (i64.const 4096) (i64.load16_u (i32.sub (global.get $at) (i32.const 2)))))))
    (if (i64.eq (local.get $b) (i64.const 0x83))
      (then (return (i64.sub (i64.const 131072) (call $byte)))))
    (if (i64.eq (local.get $b) (i64.const 0x84)) (then (return (call $wide))))
    (i64.sub (local.get $b) (i64.const 256)))
  (func $arg (result i32)
    (i32.wrap_i64 (i64.or (call $long) (i64.const 0xffffffff00000000))))
  (func $call (param $f i32)
    (block $k0
    (block $k1
    (block $k2
    (block $k3
    (block $k4
    (block $k5
    (block $k6
    (block $k7
    (block $k8
    (block $k9
    (block $k10
    (block $k11
    (block $k12
    (br_table $k12 $k11 $k10 $k9 $k8 $k7 $k6 $k5 $k4 $k3 $k2 $k1 $k0 (i32.load8_u (i32.add (i32.const 512) (local.get $f))))
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32 i32 i32) (result i32) (call $arg) (call $arg) (call $arg) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32) (result i32) (call $arg) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32 i32 i32 i32) (result i32) (call $arg) (call $arg) (call $arg) (call $arg) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (call_indirect (result i64) (local.get $f))) (return)
    ) (call_indirect (param i32 i32 i32) (call $arg) (call $arg) (call $arg) (local.get $f)) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32 i32) (result i32) (call $arg) (call $arg) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32 i32 i32 i32 i32) (result i32) (call $arg) (call $arg) (call $arg) (call $arg) (call $arg) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32) (result i32) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i64) (result i32) (call $arg) (call $long) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i64 i32) (result i32) (call $arg) (call $long) (call $arg) (local.get $f)))) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (result i32) (local.get $f)))) (return)
    ) (call_indirect (param i32) (call $arg) (local.get $f)) (return)
    ) (global.set $last (i64.extend_i32_s (call_indirect (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (call $arg) (call $arg) (call $arg) (call $arg) (call $arg) (call $long) (call $long) (call $arg) (call $arg) (local.get $f)))) (return)
  )
  (func $attack (param $left i64) (result i32)
    (local $f i32) (local $end i32)
    (global.set $at (i32.const 4096))
    (local.set $end (i32.add (i32.const 4096) (call $read (i32.const 0) (i32.const 0) (i32.const 4096) (i32.const 65536))))
    (loop $next
      (if (i32.ge_u (global.get $at) (local.get $end)) (then (return (i32.const 4))))
      (local.set $f (i32.wrap_i64 (call $byte)))
      (if (i32.eq (local.get $f) (i32.const 0xff)) (then (return (call $arg))))
      (call $call (i32.rem_u (local.get $f) (i32.const 54)))
      (br $next))
    (unreachable))
  (func (export "postern_sign") (result i32)
    (call $attack (i64.const 0))))
