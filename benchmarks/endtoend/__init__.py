"""What a firewall costs real traffic: autohep against none, nftables and iptables with ipset."""
