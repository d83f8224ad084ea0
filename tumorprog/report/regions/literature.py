"""How well readers agree with each other on gliomas, and a published algorithm with readers: for comparison."""

READERS = (
    {
        "What is compared": "Readers with each other: parts of the tumour, before treatment",
        "Agreement": "Dice 0.74 to 0.85",
        "Source": "Menze et al. 2015, IEEE TMI 34:1993-2024",
    },
    {
        "What is compared": "Readers with each other: enhancing tumour of glioblastoma, before surgery",
        "Agreement": "conformity index 0.79",
        "Source": "Visser et al. 2019, NeuroImage Clin. 22:101727",
    },
    {
        "What is compared": "Readers with each other: enhancing tumour of glioblastoma, after surgery",
        "Agreement": "conformity index 0.32",
        "Source": "Visser et al. 2019, NeuroImage Clin. 22:101727",
    },
    {
        "What is compared": "Readers with each other: enhancing tumour of glioblastoma, at progression",
        "Agreement": "conformity index 0.65",
        "Source": "Visser et al. 2019, NeuroImage Clin. 22:101727",
    },
    {
        "What is compared": "HD-GLIO with radiologists: enhancing tumour after surgery",
        "Agreement": "median Dice 0.40",
        "Source": "Sørensen et al. 2023, Diagnostics 13:363",
    },
    {
        "What is compared": "HD-GLIO with radiologists: enhancing tumour after surgery, volumes over 1 ml",
        "Agreement": "median Dice 0.86",
        "Source": "Sørensen et al. 2023, Diagnostics 13:363",
    },
)
"""The generalised conformity index J is a Jaccard index over all pairs of readers; two regions with a Jaccard index J
have the Dice coefficient 2 J / (1 + J)."""
