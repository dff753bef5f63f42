# Adds up the results of cargo's test runners: lines such as
#   test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s
/^test result: / {
  for (i = 2; i <= NF; i++) {
    if ($i == "passed;") passed += $(i - 1)
    if ($i == "failed;") failed += $(i - 1)
  }
}
END { print passed + 0, failed + 0 }
