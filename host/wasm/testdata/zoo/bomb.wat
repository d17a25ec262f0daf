;; 200 jump tables, each over 100 blocks that carry a value: 20,000 branches in 25
;; KB, and few bytes to send for what they take to compile.
;; Attacks: the cap of a module's size; compiling is off the path of callbacks.
(module
  ;;common
  (memory (export "memory") 1)
  (func $jump (param $left i64) (result i64)
    ;;repeat 100 (block (result i64)
    ;;repeat 200 (if (i64.eq (local.get $left) (i64.const %i)) (then (br_table 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99 100 (local.get $left) (i32.wrap_i64 (local.get $left)))))
    (local.get $left)
    ;;repeat 100 )
  )
  (func $attack (param $left i64) (result i32) (i32.wrap_i64 (call $jump (i64.const 4)))))
