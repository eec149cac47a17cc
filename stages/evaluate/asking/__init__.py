"""Who answers, what they are asked, and the answers of policies and servers."""
