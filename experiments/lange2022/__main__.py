"""`python -m experiments.lange2022`: train, measure, cluster, compare, draw."""

from experiments.lange2022.study import main

if __name__ == "__main__":
    main()
